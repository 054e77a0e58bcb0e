"""The local copy of a journal that is a log beside its run's outputs.

The local journal is continued if the log's newest entry is of a process that wrote it, and it has
the newest event of the log: then it has all that the log has. Otherwise another machine has
continued the log since, or this one has a copy of a journal whose process continued: the local
journal is set aside, and made again of the log.
"""

from __future__ import annotations

from pathlib import Path

from crucible_batch.errors import RunDirectoryError
from crucible_batch.journal import (
    LOG_WRITERS,
    Journal,
    add_rows,
    event_digest,
    note_sent_elsewhere,
    set_journal_aside,
)
from crucible_batch.outputs import OutputStore
from crucible_batch.runs.journal_log import JournalLog, LoggedJournal, LogState
from crucible_batch.runs.object_runs import note_url

_NONE = "-"
"""In the note about the newest processes that wrote the local journal to the log: the last one that
did, and one that may not have. None has yet. A journal that was made again of the log has the
process of its last entry with the number of that entry: the process may have added others since.
"""


def set_stale_journal_aside(
    directory: Path, log: JournalLog, state: LogState, *, or_else: str = ""
) -> None:
    """Set the local journal aside unless it has all that the log has.

    The caller holds the directory's lock. Raises ``RunDirectoryError`` if the local journal has
    runs and there is no log; ``or_else`` is what can be done then beside restoring it.
    """
    if not Journal.exists(directory) or is_current(directory, state):
        return
    if not state.position:
        raise RunDirectoryError(
            f"{log.objects.url} has no log of {log.name}, which was run in {directory}: it"
            " is another store, or its objects were deleted",
            hint="check the endpoint and the account, or that it is mounted, or restore the"
            f" objects{or_else}; nothing was spent",
        )
    set_journal_aside(directory, f"before-{state.writer[:8]}-{state.position}")


def has_all_of(directory: Path, state: LogState) -> bool:
    """Whether there is a local journal which has all that the log has.

    Then its newest run was on this machine, and has ended or was killed: its directory is locked.
    """
    return Journal.exists(directory) and is_current(directory, state)


def is_current(directory: Path, state: LogState) -> bool:
    """Whether the local journal has all that the log has.

    Without a log, one is current that was never written to a log, or has nothing.
    """
    with Journal.read(directory) as journal:
        writers = _writers(journal)
        if not state.position:
            return writers[0] == _NONE or not journal.is_begun()
        is_known = state.writer in writers or _restored_at(state) in writers
        return is_known and _has_newest_event(journal, state)


def _has_newest_event(journal: Journal, state: LogState) -> bool:
    # A copy that was continued by itself may have as many events, but not the same ones.
    if not state.digest:
        return journal.last_number() >= state.last
    return event_digest(journal, state.last) == state.digest


def _writers(journal: Journal) -> list[str]:
    return (journal.noted(LOG_WRITERS) or _NONE).split()


def _restored_at(state: LogState) -> str:
    """Return the newest process and its last entry; one that closes a log adds nothing to it."""
    return f"{state.writer}:{state.position - bool(state.closed)}"


def restore_rows(journal: Journal, state: LogState) -> bool:
    """Add the rows of the log to a new journal, and return whether it was one.

    One that is current is left alone.
    """
    if not state.position or journal.noted(LOG_WRITERS):
        return False
    with journal.transaction():
        add_rows(journal, state.entries)
        note_sent_elsewhere(journal, journal)
        journal.note(LOG_WRITERS, _restored_at(state))
    return True


async def take_log(
    journal: Journal,
    log: JournalLog,
    state: LogState,
    store: OutputStore,
    kind: type[LoggedJournal] = LoggedJournal,
) -> LoggedJournal:
    """Continue the log with what the local journal has more.

    From then on, no other process can add to it. ``kind`` makes the result. Raises
    ``LogTakenError`` if another process was faster, and ``ObjectStoreError``.
    """
    note_url(journal, store.url)
    known = {state.writer, _restored_at(state)}
    last = next((each for each in _writers(journal) if each in known), _NONE)
    # Before the entry: the process may be killed after that.
    journal.note(LOG_WRITERS, f"{last} {log.writer}")
    logged = kind(journal, log)
    await logged.add()
    if not state.writer:
        journal.note(LOG_WRITERS, log.writer)
    return logged
