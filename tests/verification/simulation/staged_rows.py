"""The rows of a report of a manifest in stages, judged by the gateway's own jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from crucible_batch.report import JobRow
from crucible_batch.sandbox.records import Job
from tests.verification.simulation.stages import Stages

_BY_SOURCE = frozenset({"SOURCE_FAILED", "PICK_NOT_FOUND"})


def is_by_source(row: JobRow) -> bool:
    """Whether a job can't be made since its source has no such output, by the report."""
    return row.status == "blocked" and row.error is not None and row.error.code in _BY_SOURCE


def why_not_by_source(row: JobRow, rows: Sequence[JobRow]) -> str | None:
    """Why a job should have been made although the report says that its source has no such output;
    None if so."""
    source = next(
        (other for other in rows if row.source is not None and other.name == row.source.name), None
    )
    if source is None or row.source is None:
        return "the report has no such source"
    is_there = any(output.index == row.source.index for output in source.outputs)
    if row.error is not None and row.error.code == "PICK_NOT_FOUND":
        return "the output is there" if is_there or source.status != "succeeded" else None
    return "its source has succeeded" if source.status == "succeeded" else None


def stage_faults(
    stages: Stages, jobs: Mapping[str, list[Job]], rows: Sequence[JobRow]
) -> list[str]:
    """What is wrong with the jobs of later stages, once nothing moves any more: one is missing,
    double, or too many.
    """
    broken = [
        f"the report has {name} {n} times"
        for name, n in Counter(row.name for row in rows).items()
        if n > 1
    ]
    by_name = {row.name: row for row in rows}
    by_id = {job.job_id: job for found in jobs.values() for job in found}
    expected = list(stages.expected(jobs, {row.job_id or "" for row in rows}))
    for each in expected:
        row = by_name.pop(each.name, None)
        source = next((other for other in rows if other.name == each.source), None)
        if row is None:
            if source is not None and source.status == "succeeded":
                broken.append(
                    f"{each.name} is not in the report, and its source {each.source} has succeeded"
                )
        elif row.status == "succeeded":
            job = by_id[row.job_id or ""]
            if job.source_sha256 != each.digest or row.prompt != each.prompt:
                broken.append(f"{each.name} was not made from the present output of {each.source}")
    extra = [
        row.name for row in by_name.values() if row.source is not None and not is_by_source(row)
    ]
    return broken + [f"{name} is in the report, and nothing asks for it" for name in extra]
