"""What a run directory holds, read from its journal: also while a run is writing it, and after it was killed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.api.progress import Progress, progress_of
from crucible_batch.core.answers import ErrorInfo
from crucible_batch.core.retry import RetryRule
from crucible_batch.errors import ReportError, RunDirectoryError
from crucible_batch.journal import Journal, RunRecord, is_locked
from crucible_batch.report import JobRow, ReportHead, build_head, build_rows, write_report


@dataclass(frozen=True, slots=True)
class Status:
    """How far a run directory is. ``running``: a run holds it right now, and ``progress`` is how far that has got.

    ``manifest`` is the manifest's path as the newest run was given it; None where that run followed a saved plan.
    """

    run_dir: Path
    running: bool
    report: ReportHead
    progress: Progress | None = None
    manifest: Path | None = None

    def jobs(self) -> Iterator[JobRow]:
        """Yield the report's row of each job, in manifest order."""
        return report_rows(self.run_dir)


def read_status(run_dir: str | Path) -> Status:
    """Read how far a run directory is. Raises ``RunDirectoryError`` where it is none, and ``JournalError``."""
    directory = Path(run_dir)
    with Journal.read(directory) as journal:
        newest, running = _newest(journal), is_locked(directory)
        jobs = journal.jobs(_rule(newest))
        progress = progress_of(jobs, newest.started_at) if running and newest.ending is None else None
        manifest = Path(newest.terms.manifest_path) if newest.terms.plan_digest is None else None
        return Status(directory, running, _head(journal), progress, manifest)


def write_report_again(run_dir: str | Path) -> ReportHead:
    """Rebuild ``report.json`` from the journal. Raises ``RunDirectoryError``, ``JournalError`` and ``ReportError``."""
    directory = Path(run_dir)
    with Journal.read(directory) as journal:
        return write_report_of(journal, directory)


def write_report_of(journal: Journal, directory: Path) -> ReportHead:
    """Write the report of an open journal, and return its head."""
    head = _head(journal)
    try:
        write_report(directory, head, _rows(journal))
    except OSError as error:
        raise ReportError(
            f"the report can't be written: {error.strerror}",
            hint=f"see to the disk, then: crucible-batch report {directory}",
        ) from error
    return head


def report_rows(run_dir: Path) -> Iterator[JobRow]:
    """Yield the report's rows from the journal, in manifest order."""
    with Journal.read(run_dir) as journal:
        yield from _rows(journal)


def newest_rule(journal: Journal) -> RetryRule:
    """Return the rule by which the newest run tries jobs again. Raises ``RunDirectoryError`` where none has begun."""
    return _rule(_newest(journal))


def _rows(journal: Journal) -> Iterator[JobRow]:
    newest = _newest(journal)
    return build_rows(journal.jobs(_rule(newest)), _stops(newest))


def _head(journal: Journal) -> ReportHead:
    newest = _newest(journal)
    return build_head(
        terms=newest.terms,
        ending=newest.ending,
        started_at=journal.runs()[0].started_at,
        finished_at=newest.finished_at,
        events=journal.events(),
        jobs=journal.jobs(_rule(newest)),
    )


def _newest(journal: Journal) -> RunRecord:
    runs = journal.runs()
    if not runs:
        raise RunDirectoryError("no run has begun in this directory yet", hint="start one: crucible-batch run MANIFEST")
    return runs[-1]


def _rule(record: RunRecord) -> RetryRule:
    return RetryRule(record.terms.attempts, record.terms.never)


def _stops(record: RunRecord) -> dict[str, ErrorInfo]:
    return {} if record.ending is None else dict(record.ending.stops)
