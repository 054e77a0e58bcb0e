"""The note in the journal of a main run directory about the cluster: the id under which its database has the run."""

from __future__ import annotations

import uuid
from pathlib import Path

from crucible_batch.api.run_journal import journal_of, reopened
from crucible_batch.api.shards.note import outstanding_shards
from crucible_batch.domain.control import PausedSince, pause_of
from crucible_batch.journal import Journal, is_locked, lock_run_directory

_RUN = "cluster_run"


def noted_run_in_cluster(main: Path) -> str | None:
    """Return the id of the run in the cluster; None if it was never queued in one."""
    with journal_of(main) as journal:
        return None if journal is None else journal.noted(_RUN)


def is_run_of_cluster(directory: Path) -> bool:
    """Return whether a run directory is that of a run in a cluster, and no run is active in it on this machine."""
    return noted_run_in_cluster(directory) is not None and not is_locked(directory)


def present_pause(journal: Journal, *, is_running: bool) -> PausedSince | None:
    """Return the pause of a run that is active, or of one in a cluster as its coordinator has recorded it last."""
    return pause_of(journal.controls()) if is_running or is_with_workers(journal) else None


def is_with_workers(journal: Journal) -> bool:
    """Return whether a run directory is that of a run whose shards are with the workers of a cluster."""
    return journal.noted(_RUN) is not None and outstanding_shards(journal) is not None


def note_run_in_cluster(main: Path, *, now: float) -> str:
    """Return the id of the run in the cluster, which is made the first time. The directory needs a journal."""
    if (known := noted_run_in_cluster(main)) is not None:
        return known
    with lock_run_directory(main), reopened(main, now=now) as journal:
        known = journal.noted(_RUN)
        if known is None:
            known = uuid.uuid4().hex
            journal.note(_RUN, known)
        return known
