"""The jobs of a run for programs: the rows of its report, with absolute paths of their outputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from crucible_batch.report import JobRow, OutputRow
from crucible_batch.runs.reporting import report_rows


class FinishedOutput(OutputRow):
    """An output file of a job.

    ``path`` is absolute. With outputs in an object store, the object has the same path below
    ``RunResult.outputs_at``.
    """

    path: Path  # type: ignore[assignment] # text in the report, a path in Python


class FinishedJob(JobRow):
    """A job of a run, as in its report."""

    # Narrower than the report's, and never added to.
    outputs: list[FinishedOutput]  # type: ignore[assignment]
    takes: list[FinishedOutput]  # type: ignore[assignment]


def finished_job(row: JobRow, run_dir: Path) -> FinishedJob:
    """Return a row of the report of a run directory."""
    base = run_dir.absolute()

    def finished(rows: list[OutputRow]) -> list[FinishedOutput]:
        return [
            FinishedOutput.model_construct(**{**dict(each), "path": base / each.path})
            for each in rows
        ]

    outputs, takes = finished(row.outputs), finished(row.takes)
    return FinishedJob.model_construct(**{**dict(row), "outputs": outputs, "takes": takes})


def finished_jobs(run_dir: Path) -> Iterator[FinishedJob]:
    """Yield the jobs of a run directory, in manifest order."""
    return (finished_job(row, run_dir) for row in report_rows(run_dir))
