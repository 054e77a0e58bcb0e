"""A plan as Markdown: its jobs, what they cost, and the budget."""

from __future__ import annotations

from collections.abc import Iterator

from crucible_batch.cli.render.comparison import comparison_lines, count_words, sign_of
from crucible_batch.cli.render.plan import cost_words, plan_facts, price_cells
from crucible_batch.cli.units import counted
from crucible_batch.core.credits import format_credits
from crucible_batch.core.plan_diff import ChangeKind
from crucible_batch.core.redaction import clean_path
from crucible_batch.features.markdown.text import and_more, code, document, table
from crucible_batch.runs.plan_summary import PlanSummary

_ROWS_SHOWN = 50


def plan_markdown(plan: PlanSummary) -> str:
    return document(_parts(plan))


def _parts(plan: PlanSummary) -> Iterator[str]:
    yield f"## Plan of {code(plan.manifest_name)} · {code(plan.run_id)}"
    yield f"**{counted(plan.total, 'job')}**: {count_words(plan.comparison)}"
    changes = comparison_lines(plan.comparison)
    if changes:
        yield table(["jobs", "why"], [_change(*line) for line in changes[:_ROWS_SHOWN]])
        yield _and_more(len(changes))
    if plan.lines:
        yield _prices(plan)
        yield _and_more(len(plan.lines))
    # The words of facts have names, notes and hints in them.
    facts = [(label, code(text.plain, 1000)) for label, text in plan_facts(plan)]
    yield table(["", ""], [*facts, ("results", code(clean_path(plan.run_dir)))])


def _and_more(count: int) -> str:
    return and_more(count - _ROWS_SHOWN, "row", "`plan --json` has them all")


def _change(mark: ChangeKind, jobs: str, why: str) -> list[str]:
    return [code(f"{sign_of(mark)} {jobs}"), code(why)]


def _prices(plan: PlanSummary) -> str:
    rows = []
    for line in plan.lines[:_ROWS_SHOWN]:
        what, *figures = (cell.plain for cell in price_cells(line))
        bound = "none"
        if line.bound is not None:
            bound = format_credits(line.bound)
        rows.append([code(what), *figures, bound])
    if len(plan.lines) > 1:
        # What has no price yet is named in the sum.
        rows.append(["**total**", "", "", code(cost_words(plan.lines)), ""])
    return table(["to buy", ">count", ">each", ">credits", ">bound"], rows)
