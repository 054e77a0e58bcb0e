"""What the journal of a run directory has: runs, jobs, the ledger, the URL of its outputs, whether
these were pruned.

A run whose outputs are in an object store has its journal in a local directory (``paths.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from crucible_batch.core.job import Job
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import PlannedJob, RunTerms
from crucible_batch.core.prices import PriceBook
from crucible_batch.errors import RunDirectoryError, RunPrunedError, ShardsOutstandingError
from crucible_batch.journal import Journal, RunRecord
from crucible_batch.object_url import ObjectUrl
from crucible_batch.runs.paths import state_directory_of
from crucible_batch.runs.shard_notes import describe_shards, outstanding_shards

OUTPUTS_AT = "outputs_at"
"""The name under which a journal stores the URL of its outputs."""
PRUNED = "pruned"
"""The name under which the journal stores the day of the pruning; empty text means that it is not
pruned any more."""


def journal_of(directory: Path) -> AbstractContextManager[Journal | None]:
    """Open the directory's journal for reading; None if there is no journal yet."""
    if not Journal.exists(directory):
        return nullcontext()
    return Journal.read(directory)


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

    Raises ``RunDirectoryError`` if none has begun: ``ShardsOutstandingError`` if its shards are run
    elsewhere.
    """
    runs = journal.runs()
    if not runs:
        shards = outstanding_shards(journal)
        if shards is not None:
            raise ShardsOutstandingError(journal.path.parents[1], describe_shards(shards))
        raise RunDirectoryError(
            "no run has begun in this directory yet", hint="start one: crucible-batch run MANIFEST"
        )
    return runs[-1]


def changed_at_of(run: RunRecord) -> float:
    """Return when a run ended, or began if it has no ending, in seconds since the epoch."""
    return run.started_at if run.finished_at is None else run.finished_at


def location_of(journal: Journal, directory: Path) -> str | Path:
    """Return the run directory as commands take it on any machine."""
    url = journal_outputs_url(journal)
    return directory if url is None else str(url)


def manifest_of(terms: RunTerms) -> Path | None:
    """Return the manifest's path as given to a run; None if the run followed a saved plan."""
    if terms.plan_digest is not None:
        return None
    return Path(terms.manifest_path)


def jobs_with_past(journal: Journal) -> Iterator[tuple[PlannedJob, Job, bool]]:
    """Yield the plan's jobs, then the retired ones, which are no longer in it.

    The third value is true for retired.
    """
    for planned, job in journal.jobs(newest_run(journal).terms.rule):
        yield planned, job, False
    for planned, job in journal.retired():
        yield planned, job, True


def ledger_of(journal: Journal | None, prices: PriceBook | None = None) -> Ledger:
    """Replay the journal's events into a ledger with these prices; an empty one without journal."""
    ledger = Ledger(prices)
    if journal is not None:
        for subject, event in journal.events():
            ledger.apply(subject, event)
    return ledger


def local_directory(run_dir: str | Path) -> Path:
    """Return the directory of a run's journal: that of an object store's URL, any other path
    unchanged.

    Raises ``UserError`` for an invalid URL, and ``RunDirectoryError`` if this machine has no
    journal of a run there.
    """
    url = ObjectUrl.parse(run_dir)
    if url is None:
        return Path(run_dir)
    directory = state_directory_of(url)
    if not Journal.exists(directory):
        raise RunDirectoryError(
            f"this machine has no journal of a run at {url}",
            hint=(
                f"run the manifest with --out-dir {url}: "
                "what it bought before is found again at no cost"
            ),
        )
    return directory


def journal_outputs_url(journal: Journal) -> ObjectUrl | None:
    """Return the place that a journal has noted for its outputs; None if they are in its own
    directory."""
    place = journal.noted(OUTPUTS_AT)
    return ObjectUrl.at(place) if place else None


def directory_outputs_url(directory: Path) -> ObjectUrl | None:
    """Return the URL that the journal of a run directory has noted for its outputs; None without a
    journal, too."""
    with journal_of(directory) as journal:
        if journal is None:
            return None
        return journal_outputs_url(journal)


def run_outputs_url(out_dir: Path | None, directory: Path) -> ObjectUrl | None:
    """Return the URL of a run's outputs: that of ``--out-dir``, or else that of its journal. None
    if they are local.
    """
    return ObjectUrl.parse(out_dir or "") or directory_outputs_url(directory)


def refuse_if_pruned(directory: Path) -> None:
    """Raise ``RunPrunedError`` if the outputs of a run directory were deleted.

    Does nothing without a journal.
    """
    with journal_of(directory) as journal:
        if journal is None or not journal.is_begun():
            return
        day = pruned_on(journal)
        if day:
            raise RunPrunedError(directory, day)


def pruned_on(journal: Journal) -> str | None:
    """Return the day of the pruning, such as "2026-11-29"; None if the outputs were not deleted."""
    return journal.noted(PRUNED) or None


def forget_pruning(journal: Journal) -> None:
    """Remove the note, since the outputs are about to be downloaded again."""
    if journal.noted(PRUNED):
        journal.note(PRUNED, "")
