"""The journal of a run in an object store is a log there as well (``journal_log.py``).

So the run may be continued on any machine, and two machines that run it at the same time can't
spend its budget twice:

    the local journal                       what happens at the start
    has all of the log                      it is continued
    doesn't exist, or another process has   the log is watched until it is silent, unless its
    continued the log, or it is a copy of   newest run has ended; then it is set aside, and made
    a journal that has                      again of the log
    was never written to a log              it becomes the first entry
    was, and there is no log any more       the run is refused until ``check --fix``
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

from crucible_batch.engine import Clock
from crucible_batch.errors import ObjectStoreError, RunDirectoryError
from crucible_batch.journal import LOG_WRITERS, Binding, Journal, lock_run_directory
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import (
    DirectoryObjects,
    ObjectOutputStore,
    ObjectPort,
    OutputStore,
)
from crucible_batch.runs.journal_log import (
    JournalLog,
    LoggedJournal,
    LogState,
    LogTakenError,
)
from crucible_batch.runs.log_copy import (
    has_all_of,
    restore_rows,
    set_stale_journal_aside,
    take_log,
)
from crucible_batch.runs.log_part import LogPart
from crucible_batch.runs.log_tail import SILENT_S, refuse_while_it_runs
from crucible_batch.runs.logged_figures import LoggedFigures
from crucible_batch.runs.object_runs import objects_at, stored_binding
from crucible_batch.runs.paths import state_directory_of
from crucible_batch.runs.run_journal import directory_outputs_url
from crucible_batch.shell_command import shell_command

logger = logging.getLogger(__name__)

LOG = ".crucible/log"
"""The prefix of the log: no output can be there."""


class _RunJournal(LoggedJournal):
    """The journal of a run: what is not in its log at the end is added by the next run here."""

    _is_over = False

    async def finish(self) -> None:
        try:
            await super().finish()
        except ObjectStoreError as error:
            logger.warning("the log of this run lacks its end: %s", error.message)
        except LogTakenError as error:
            if not self._is_over:
                raise
            logger.warning("the log of this run lacks its rebates: %s", error.message)
        self._is_over = True


@dataclass(slots=True)
class MainLog:
    """The log of a run as it was read, to be continued by this process."""

    store: OutputStore
    binding: Binding
    log: JournalLog
    state: LogState
    has_restored: bool = False
    """Whether the local journal was made again of the log."""
    _taken: LoggedJournal | None = field(default=None, init=False)

    async def take(self, journal: Journal, part: LogPart) -> LoggedJournal:
        """Continue the log for a run. Raises as ``take_log`` does."""
        self._taken = await take_log(journal, self.log, self.state, self.store, _RunJournal)
        part.take(self._taken)
        return self._taken

    async def add(self, journal: Journal) -> None:
        """Add what the journal has more, without a run. Raises as ``take_log`` does."""
        if self._taken is not None:
            self._taken.journal = journal
            await self._taken.add()
            return
        figures = self.state.figures or LoggedFigures()
        ended = replace(figures, exit_code=figures.exit_code or 0)
        self.log.figures = lambda: ended
        self._taken = await take_log(journal, self.log, self.state, self.store)

    async def add_local(self, clock: Clock) -> None:
        """Add what the local journal has more, which may be open in another thread."""
        with Journal.open(self.store.directory, self.binding, now=clock.now()) as journal:
            await self.add(journal)


def log_of_run(objects: ObjectPort, binding: Binding) -> JournalLog:
    return JournalLog(objects, LOG, of=binding.rows, name="this run")


async def read_log(store: OutputStore, binding: Binding, clock: Clock) -> MainLog | None:
    """Read the log of a run, and set the local journal aside unless it has all of it.

    None if the run is in a directory. The caller holds its lock. Raises ``RunBusyError`` if the log
    grows, ``RunDirectoryError`` if it was deleted, or a directory has one, ``JournalError`` and
    ``ObjectStoreError``.
    """
    if not isinstance(store, ObjectOutputStore):
        await _refuse_logged(store.directory)
        return None
    log = log_of_run(store.objects, binding)
    state = await log.read_end()
    if state.position and has_all_of(store.directory, state):
        return MainLog(store, binding, log, state)
    state = await log.read()
    if not has_all_of(store.directory, state):
        if state.may_be_running:
            logger.warning(
                "the newest run at %s has not ended: it is watched for %g s, and continued unless"
                " it is running on another machine",
                store.url,
                SILENT_S,
            )
        await refuse_while_it_runs(log, state, clock)
    set_stale_journal_aside(
        store.directory,
        log,
        state,
        or_else="; or begin another log with what the journal here has, if no other machine has"
        f" continued the run: {shell_command('check', str(store.url), '--fix')}",
    )
    return MainLog(store, binding, log, state)


async def _refuse_logged(directory: Path) -> None:
    """Raise ``RunDirectoryError`` if a directory that was given by its path has the log of a run:
    what that has bought is in the log, and in no journal there."""
    objects = DirectoryObjects(directory)
    if await objects.names(LOG):
        url = f"file://{objects.url}"
        raise RunDirectoryError(
            f"{directory} is the place of a run at {url}, and has its log",
            hint=f"use the URL in place of the path: {url}; nothing was spent",
        )


async def forget_lost_log(journal: Journal, store: OutputStore) -> None:
    """Have the next run begin another log, if the store has no log of the run any more."""
    if isinstance(store, ObjectOutputStore) and not await store.objects.names(LOG):
        journal.note(LOG_WRITERS, "")


async def bring_journal(directory: Path, url: ObjectUrl, clock: Clock) -> MainLog | None:
    """Make the local journal of a run have all that its log has.

    None, and nothing is created, if there is no log, or the run is in a directory. Raises as
    ``read_log`` does, and ``RunBusyError`` if a run is active here.
    """
    if url.directory is not None:
        await _refuse_logged(url.directory)
        return None
    objects = objects_at(url)
    binding = await stored_binding(objects)
    if binding is None or not await objects.names(LOG):
        return None
    with lock_run_directory(directory):
        log = await read_log(ObjectOutputStore(directory, objects), binding, clock)
        if log is not None:
            with Journal.open(directory, binding, now=clock.now()) as journal:
                restore_rows(journal, log.state)
        return log


async def bring_newest(directory: Path, clock: Clock) -> None:
    """Make a local journal have all that the log of its run has, if that is in an object store.

    Does nothing for other run directories, and for those of shards. Raises as ``bring_journal``
    does.
    """
    url = directory_outputs_url(directory)
    if url is not None and _is_same(directory, state_directory_of(url)):
        await bring_journal(directory, url, clock)


def _is_same(directory: Path, other: Path) -> bool:
    return directory.resolve() == other.resolve()
