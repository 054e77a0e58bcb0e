"""What takes part in the run of a shard that has a log: it keeps the log growing, and takes the
commands that are stored for all shards.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from crucible_batch.core.outcome import Ending
from crucible_batch.features.shards.cluster_control import GivenControl
from crucible_batch.features.shards.command_feed import CommandFeed
from crucible_batch.features.shards.command_log import StoredCommands
from crucible_batch.runs.journal_log import LoggedJournal, ShardTakenError
from crucible_batch.runs.parts import OpenedRun, ReadyRun, RunPart
from crucible_batch.runs.run_figures import FigureKeeper


class ShardLogPart(RunPart):
    """Takes part in one run. ``log`` is set once the run has taken it; None without one."""

    def __init__(self) -> None:
        self.log: LoggedJournal | None = None
        self._keeper = FigureKeeper()

    def opened(self, run: OpenedRun) -> None:
        run.context.observers.add(self._keeper)

    def take(self, log: LoggedJournal) -> None:
        """Have the entries of a log show the figures of this run."""
        self.log = log
        log.log.figures = self._keeper.figures

    def beside(self, run: ReadyRun) -> AbstractAsyncContextManager[object]:
        return self._beside(run)

    @asynccontextmanager
    async def _beside(self, run: ReadyRun) -> AsyncIterator[None]:
        if self.log is None:
            yield
            return
        clock, log = run.context.clock, self.log.log
        commands = StoredCommands(log.objects, log.plan, clock)

        async def take(known: int, _in_flight: int) -> list[GivenControl]:
            self._keeper.taken = known
            return await commands.after(known)

        feed = CommandFeed(take, monotonic=clock.monotonic, sleep=clock.sleep)
        self._keeper.begin(run.desk)
        await feed.ask()
        try:
            async with feed.on(run.desk), asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self.log.keep(clock)),
                    group.create_task(feed.keep()),
                ]
                yield
                for task in tasks:
                    task.cancel()
        except* ShardTakenError as errors:
            raise errors.exceptions[0] from None

    async def ended(self, ending: Ending) -> None:
        self._keeper.end(ending)
