"""What the journal of a run directory has: its newest run, its jobs and its ledger; and opening it to add to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from crucible_batch.api.shards.note import describe_shards, outstanding_shards
from crucible_batch.domain.job import Job
from crucible_batch.domain.ledger import Ledger
from crucible_batch.domain.plan import PlannedJob, RunTerms
from crucible_batch.domain.prices import PriceBook
from crucible_batch.errors import RunDirectoryError, ShardsOutstandingError
from crucible_batch.journal import Journal, RunRecord


def journal_of(directory: Path) -> AbstractContextManager[Journal | None]:
    """Open the directory's journal for reading; None if there is no journal yet."""
    return Journal.read(directory) if Journal.exists(directory) else nullcontext()


@contextmanager
def reopened(directory: Path, *, now: float) -> Iterator[Journal]:
    """Open the journal of an existing run for writing. The caller must hold the directory's lock.

    Raises ``RunDirectoryError`` if there is none, and ``JournalError``.
    """
    with Journal.read(directory) as journal:
        binding = journal.binding()
    with Journal.open(directory, binding, now=now) as journal:
        yield journal


def is_begun(directory: Path) -> bool:
    """Whether any run has begun in a directory: without one, nothing was bought."""
    with journal_of(directory) as journal:
        return journal is not None and journal.is_begun()


def newest_run(journal: Journal) -> RunRecord:
    """Return the newest run.

    Raises ``RunDirectoryError`` if none has begun: ``ShardsOutstandingError`` if its shards are run elsewhere.
    """
    runs = journal.runs()
    if not runs:
        if (shards := outstanding_shards(journal)) is not None:
            raise ShardsOutstandingError(journal.path.parents[1], describe_shards(shards))
        raise RunDirectoryError("no run has begun in this directory yet", hint="start one: crucible-batch run MANIFEST")
    return runs[-1]


def changed_at_of(run: RunRecord) -> float:
    """Return when a run ended, or began if it has no ending, in seconds since the epoch."""
    return run.started_at if run.finished_at is None else run.finished_at


def manifest_of(terms: RunTerms) -> Path | None:
    """Return the manifest's path as given to a run; None if the run followed a saved plan."""
    return Path(terms.manifest_path) if terms.plan_digest is None else None


def jobs_with_past(journal: Journal) -> Iterator[tuple[PlannedJob, Job, bool]]:
    """Yield the plan's jobs, then the retired ones, which are no longer in it. The third value is true for retired."""
    for planned, job in journal.jobs(newest_run(journal).terms.rule):
        yield planned, job, False
    for planned, job in journal.retired():
        yield planned, job, True


def ledger_of(journal: Journal | None, prices: PriceBook | None = None) -> Ledger:
    """Replay the journal's events into a ledger, with these prices; an empty one without a journal."""
    ledger = Ledger(prices)
    for subject, event in journal.events() if journal is not None else ():
        ledger.apply(subject, event)
    return ledger
