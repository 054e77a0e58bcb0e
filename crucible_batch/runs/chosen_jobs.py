"""The jobs that the options of features choose among those that ``--only`` takes, once they are
planned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.run_options import FeatureOptions
from crucible_batch.journal import PlanFile
from crucible_batch.runs.request import JobFilter, RunRequest


def with_choice(request: RunRequest, draft: PlanFile) -> RunRequest:
    """Return the request without the jobs that its features leave out of a plan.

    A job that is made from another chosen one follows it, and is not chosen by itself. Raises as
    ``FeatureOptions.chosen`` does.
    """
    takes = replace(request.job_filter, left_out=frozenset())
    for options in request.features:
        takes = replace(takes, left_out=takes.left_out | _left_out(options, draft, takes))
    return replace(request, left_out=takes.left_out)


def _left_out(options: FeatureOptions, draft: PlanFile, takes: JobFilter) -> frozenset[str]:
    chosen = options.chosen(independent(draft.jobs(), takes))
    if chosen is None:
        return frozenset()
    left_out = {each.name for each in independent(draft.jobs(), takes)} - chosen
    # A source is above what is made from it.
    for planned in draft.jobs():
        if planned.source_name in left_out:
            left_out.add(planned.name)
    return frozenset(left_out)


def independent(jobs: Iterator[PlannedJob], takes: JobFilter) -> Iterator[PlannedJob]:
    """Yield the chosen jobs that are not made from an output of another chosen one."""
    names = set[str]()
    for planned in jobs:
        if takes.takes(planned.name, planned.source_name):
            names.add(planned.name)
            if planned.source_name not in names:
                yield planned
