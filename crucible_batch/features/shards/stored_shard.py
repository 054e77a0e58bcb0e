"""A shard whose journal is a log beside its run's outputs: its local copy, and the start of its
run.

The local journal is continued if the log's newest entry is of a process that wrote it: then it has
all that the log has. Otherwise another machine has continued the shard since: the local journal is
set aside, and made again of the log.
"""

from __future__ import annotations

from pathlib import Path

from crucible_batch.core.sharding import ShardId
from crucible_batch.errors import RunDirectoryError
from crucible_batch.features.shards.log import LoggedJournal, LogState, ShardLog
from crucible_batch.features.shards.stored_plans import publish_plan
from crucible_batch.journal import Binding, Journal, add_rows, rows_after, set_journal_aside
from crucible_batch.outputs import ObjectOutputStore, OutputStore
from crucible_batch.runs.object_runs import claim_prefix, note_url
from crucible_batch.saved_plan import SavedPlan

_WRITERS = "log_writers"
"""The newest processes that wrote the local journal to the log: the last one that did, and one that
may not have.
"""


async def log_of_shard(
    store: OutputStore, plan: SavedPlan, shard: ShardId, binding: Binding
) -> ShardLog | None:
    """Return the log of a shard; None if its outputs are in a directory of its own.

    The plan is put into the store first, so that a merge finds it. Raises as ``claim_prefix`` and
    ``publish_plan`` do.
    """
    if not isinstance(store, ObjectOutputStore):
        return None
    await claim_prefix(store, binding, may_be_empty=True)
    await publish_plan(store.objects, plan)
    return ShardLog(store.objects, plan.digest, shard)


async def read_open(log: ShardLog) -> LogState:
    """Read the log of a shard that is to be run. Raises ``RunDirectoryError`` if it is closed."""
    state = await log.read()
    if state.closed:
        raise RunDirectoryError(
            f"shard {log.shard} of {log.objects.url} was {state.closed}, and its allowance was"
            " returned",
            hint="make a new plan for the jobs that are left: crucible-batch plan MANIFEST",
        )
    return state


def set_stale_journal_aside(directory: Path, log: ShardLog, state: LogState) -> None:
    """Set the local journal aside unless it has all that the log has.

    The caller holds the directory's lock. Raises ``RunDirectoryError`` if the local journal has
    runs and there is no log.
    """
    if not Journal.exists(directory) or is_current(directory, state):
        return
    if not state.position:
        raise RunDirectoryError(
            f"{log.objects.url} has no log of shard {log.shard}, which was run in {directory}: it"
            " is another store, or its objects were deleted",
            hint="check the endpoint and the account, or that it is mounted, or restore the"
            " objects; nothing was spent",
        )
    set_journal_aside(directory, f"before-{state.writer[:8]}-{state.position}")


def has_all_of(directory: Path, state: LogState) -> bool:
    """Whether there is a local journal which has all that the log has.

    Then its newest run was on this machine, and has ended or was killed: its directory is locked.
    """
    return Journal.exists(directory) and is_current(directory, state)


def is_current(directory: Path, state: LogState) -> bool:
    """Whether the local journal has all that the log has.

    One in which no run has begun has nothing.
    """
    with Journal.read(directory) as journal:
        if not state.position:
            return not journal.is_begun()
        writers = (journal.noted(_WRITERS) or "").split()
        return state.writer in writers and journal.last_number() >= state.last


def restore_rows(journal: Journal, state: LogState) -> None:
    """Add the rows of the log to a new journal; one that is current is left alone."""
    if state.position and not journal.noted(_WRITERS):
        with journal.transaction():
            add_rows(journal, state.entries)
            journal.note(_WRITERS, state.writer)


async def take_log(
    journal: Journal, log: ShardLog, state: LogState, store: OutputStore
) -> LoggedJournal:
    """Continue the log with what the local journal has more.

    From then on, no other process can add to it. Raises ``ShardTakenError`` if another process was
    faster, and ``ObjectStoreError``.
    """
    note_url(journal, store.url)
    # Before the entry: the process may be killed after that.
    journal.note(_WRITERS, f"{state.writer} {log.writer}".strip())
    await log.append(rows_after(journal, state.last))
    return LoggedJournal(journal, log)
