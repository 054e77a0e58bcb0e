"""A report as Markdown: totals, credits, what each workflow cost, and the jobs that failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from crucible_batch.cli.render.summary import all_jobs_words, credits_words, waiting_words
from crucible_batch.core.credits import ZERO, Credits, format_credits
from crucible_batch.features.markdown.text import and_more, code, document, table
from crucible_batch.report import JobRow, ReportHead

_ROWS_SHOWN = 50
_OUTCOMES = ("succeeded", "failed", "blocked", "unknown", "pending")
_NOT_DONE = frozenset({"failed", "unknown"})
_NAME, _MESSAGE, _PROMPT = 100, 200, 120
"""Characters that are shown of each."""


def report_markdown(head: ReportHead, rows: Iterable[JobRow]) -> str:
    """Return a report with its jobs, each of which is read once."""
    found = _Found()
    for row in rows:
        found.add(row)
    return document(_parts(head, found))


@dataclass(slots=True)
class _Bought:
    """The jobs of a workflow that were bought. ``prices`` are the lowest and the highest of one."""

    jobs: int = 0
    credits: Credits = ZERO
    prices: tuple[Credits, Credits] | None = None

    def add(self, row: JobRow) -> None:
        self.jobs += 1
        self.credits += row.credits
        for attempt in row.attempts:
            if attempt.job_id is not None:
                low, high = self.prices or (attempt.credits, attempt.credits)
                self.prices = min(low, attempt.credits), max(high, attempt.credits)

    @property
    def each(self) -> str:
        low, high = self.prices or (ZERO, ZERO)
        if low == high:
            return format_credits(low)
        return f"{format_credits(low)} to {format_credits(high)}"


@dataclass(slots=True)
class _Found:
    """What the tables have of the jobs."""

    bought: dict[str, _Bought] = field(default_factory=dict)
    not_done: list[JobRow] = field(default_factory=list)
    count: int = 0

    def add(self, row: JobRow) -> None:
        if any(attempt.job_id is not None for attempt in row.attempts):
            self.bought.setdefault(row.workflow_id, _Bought()).add(row)
        if row.status in _NOT_DONE:
            self.count += 1
            if len(self.not_done) < _ROWS_SHOWN:
                self.not_done.append(row)


def _parts(head: ReportHead, found: _Found) -> Iterator[str]:
    yield f"## Run of {code(head.manifest.name)} · {code(head.run_id)}"
    yield _ending(head)
    yield _totals(head)
    if found.bought:
        yield _prices(head, found)
        yield and_more(len(found.bought) - _ROWS_SHOWN, "workflow", "`report.json` has them all")
    if found.not_done:
        yield "### Jobs that failed"
        yield table(["job", "outcome", "error", "message", "prompt"], map(_job, found.not_done))
        yield and_more(found.count - _ROWS_SHOWN, "job", "`report.json` has them all")
    facts = list(_facts(head))
    if facts:
        yield table(["", ""], facts)


def _ending(head: ReportHead) -> str:
    done = f"**{head.counts.succeeded:,} of {head.counts.total:,} jobs succeeded**"
    if head.exit_code is None:
        return f"{done} · not ended"
    return f"{done} · exit code {head.exit_code}"


def _totals(head: ReportHead) -> str:
    counts, amounts = head.counts.model_dump(), head.credits
    shown = [name for name in _OUTCOMES if counts[name] or name in {"succeeded", "failed"}]
    budget = "none"
    if amounts.budget is not None:
        budget = format_credits(amounts.budget)
    cells = {
        **{name: f"{counts[name]:,}" for name in shown},
        "jobs": f"{head.counts.total:,}",
        "spent": format_credits(amounts.bought),
        "held": format_credits(amounts.held),
        "refunded": format_credits(amounts.refunded),
        "budget": budget,
    }
    return table([f">{name}" for name in cells], [list(cells.values())])


def _prices(head: ReportHead, found: _Found) -> str:
    workflows = list(found.bought.items())[:_ROWS_SHOWN]
    rows = [
        [code(name, _NAME), f"{bought.jobs:,}", bought.each, format_credits(bought.credits)]
        for name, bought in workflows
    ]
    if head.credits.uploads:
        rows.append(["uploads", "", "", format_credits(head.credits.uploads)])
    return table(["workflow", ">jobs", ">each", ">credits"], rows)


def _job(row: JobRow) -> list[str]:
    error, message = "", ""
    if row.error is not None:
        error, message = row.error.code, row.error.message
    return [
        code(row.name, _NAME),
        row.status,
        code(error, _NAME),
        code(message, _MESSAGE),
        code(row.prompt or "", _PROMPT),
    ]


def _facts(head: ReportHead) -> Iterator[tuple[str, str]]:
    yield "credits", code(credits_words(head), 1000)
    for stop in {stop.code: stop for stop in head.stops.values()}.values():
        yield "stopped", code(f"{stop.code}: {stop.message}")
        if stop.hint:
            yield "hint", code(stop.hint)
    for note in head.notes:
        yield "note", code(note)
    for stage in head.waiting:
        yield "waiting", code(waiting_words(stage))
    if head.all_jobs is not None:
        yield "all jobs", code(all_jobs_words(head.all_jobs))
