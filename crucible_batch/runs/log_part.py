"""What takes part in a run whose journal is a log: it keeps the log growing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from crucible_batch.core.outcome import Ending
from crucible_batch.outputs import ObjectOutputStore
from crucible_batch.runs.journal_log import LoggedJournal, LogTakenError
from crucible_batch.runs.logged_figures import FigureKeeper
from crucible_batch.runs.parts import OpenedRun, ReadyRun, RunPart


class LogPart(RunPart):
    """Takes part in one run. ``log`` is set once the run has taken it; None without one."""

    def __init__(self) -> None:
        self.log: LoggedJournal | None = None
        self._keeper = FigureKeeper()

    def opened(self, run: OpenedRun) -> None:
        if isinstance(run.context.store, ObjectOutputStore):
            run.context.observers.add(self._keeper)

    def take(self, log: LoggedJournal) -> None:
        """Have the next entries of a log show the figures of this run."""
        self.log = log
        log.log.figures = self._keeper.figures

    def beside(self, run: ReadyRun) -> AbstractAsyncContextManager[object]:
        if self.log is None:
            return nullcontext()
        return self._beside(run, self.log)

    @asynccontextmanager
    async def _beside(self, run: ReadyRun, log: LoggedJournal) -> AsyncIterator[None]:
        self._keeper.begin(run.desk)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(each) for each in self._kept(run, log)]
                yield
                for task in tasks:
                    task.cancel()
        except* LogTakenError as errors:
            raise errors.exceptions[0] from None

    def _kept(self, run: ReadyRun, log: LoggedJournal) -> list[Coroutine[None, None, None]]:
        """Return what is done beside the run until it has ended."""
        return [log.keep(run.context.clock)]

    async def ended(self, ending: Ending) -> None:
        self._keeper.end(ending)
