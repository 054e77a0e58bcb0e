"""What takes part in the run of a shard that has a log: it takes the commands that are stored for
all shards.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from crucible_batch.features.shards.command_feed import CommandFeed
from crucible_batch.features.shards.command_log import StoredCommands
from crucible_batch.features.shards.command_rule import GivenControl
from crucible_batch.runs.journal_log import LoggedJournal
from crucible_batch.runs.log_part import LogPart
from crucible_batch.runs.parts import ReadyRun


class ShardLogPart(LogPart):
    """Takes part in the run of one shard of ``plan``, the digest of a divided plan."""

    def __init__(self, plan: str) -> None:
        super().__init__()
        self._plan = plan
        self._feed: CommandFeed

    @asynccontextmanager
    async def _beside(self, run: ReadyRun, log: LoggedJournal) -> AsyncIterator[None]:
        clock = run.context.clock
        commands = StoredCommands(log.log.objects, self._plan, clock)

        async def take(known: int, _in_flight: int) -> list[GivenControl]:
            self._keeper.taken = known
            return await commands.after(known)

        self._feed = CommandFeed(take, monotonic=clock.monotonic, sleep=clock.sleep)
        await self._feed.ask()
        async with self._feed.on(run.desk), super()._beside(run, log):
            yield

    def _kept(self, run: ReadyRun, log: LoggedJournal) -> list[Coroutine[None, None, None]]:
        return [*super()._kept(run, log), self._feed.keep()]
