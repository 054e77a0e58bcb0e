"""The stages of a plan whose jobs are made from the outputs of other jobs, as text and JSON."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from crucible_batch.api import Certainty, PlanSummary, PriceLine, StagePreview, clean, format_credits
from crucible_batch.api.plan_rows import UPLOADS
from crucible_batch.cli.terminal import Json


def stage_facts(plan: PlanSummary) -> Iterator[tuple[str, Text]]:
    """Yield a line for each stage to which the run may add jobs, or which waits for its picks."""
    for preview in plan.stages:
        stage = preview.stage
        if stage.jobs or stage.is_waiting:
            style = "yellow" if stage.is_waiting else ""
            yield "stage", Text(_stage_words(preview), style=style)


def _stage_words(preview: StagePreview) -> str:
    stage = preview.stage
    name, sources = clean(stage.name, 80), clean(stage.sources, 80)
    jobs = f"{stage.jobs} {'more job' if stage.jobs == 1 else 'more jobs'}"
    words = f"{name}: up to {jobs} from {sources}, {', '.join(map(_price_words, preview.lines))}"
    if stage.is_waiting:
        return f"{words}; not in this run, since {clean(stage.picks or '', 200)} does not exist yet"
    if stage.is_after_waiting:
        return f"{words}; not before the stage above"
    return words


def _price_words(line: PriceLine) -> str:
    what = f"{line.count} upload{'s' if line.count != 1 else ''}" if line.what == UPLOADS else clean(line.what, 60)
    if line.each is None:
        return f"{what} (price not known yet)"
    unit = "credit" if line.each == 1 else "credits"
    most = "at most " if line.certainty is Certainty.BOUNDED else ""
    return f"{what} ({most}{format_credits(line.each)} {unit} each)"


def stage_shortfall(plan: PlanSummary) -> str:
    """Return by how much the budget falls short of a plan with the jobs that its run may add; '' if it doesn't."""
    if plan.budget is None or not plan.later_lines:
        return ""
    most = plan.most_with_stages
    missing = plan.over_budget if most is None else plan.spent + plan.held + most - plan.budget
    if missing <= 0:
        return ""
    amount = f"{format_credits(missing)} or more" if most is None else f"up to {format_credits(missing)}"
    return f"with the next stages it may fall short by {amount}"


def stages_json(plan: PlanSummary) -> Json:
    """Return the stages as JSON, with credits as decimal text."""
    return [
        {
            "name": preview.stage.name,
            "from": preview.stage.sources,
            "jobs": preview.stage.jobs,
            "pick": preview.stage.picks,
            "waiting": preview.stage.is_waiting,
            "counted": preview.stage.is_counted,
            "prices": [
                {
                    "what": line.what,
                    "count": line.count,
                    "each": None if line.each is None else format_credits(line.each),
                    "total": None if line.total is None else format_credits(line.total),
                }
                for line in preview.lines
            ],
        }
        for preview in plan.stages
    ]
