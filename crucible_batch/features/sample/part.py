"""The choice of a run, noted in its journal: the report shows what all jobs would cost."""

from __future__ import annotations

from collections.abc import Iterable

from crucible_batch.features.sample.note import Tried, note_tried
from crucible_batch.features.sample.run_options import SampleOptions
from crucible_batch.journal import PlanFile
from crucible_batch.runs.chosen_jobs import independent
from crucible_batch.runs.parts import OpenedRun, RunPart
from crucible_batch.runs.plan_parts import PlanPart, ReadPlan
from crucible_batch.runs.request import JobFilter, RunRequest


class SamplePart(RunPart, PlanPart):
    """Notes which jobs are tried."""

    def opened(self, run: OpenedRun) -> None:
        note_tried(run.journal, _tried(run.context.request))

    def job_notes(self, plan: ReadPlan, draft: PlanFile) -> Iterable[str]:
        tried = _tried(plan.request)
        if tried is None:
            return
        every = sum(1 for _ in independent(draft.jobs(), JobFilter(tried.only)))
        if tried.number < every:
            yield f"{tried.option} {tried.number}: {tried.number} of {every:,} jobs are planned"


def _tried(request: RunRequest) -> Tried | None:
    for name, number in request.of(SampleOptions).fixed.items():
        return Tried(f"--{name}", number, request.only)
    return None
