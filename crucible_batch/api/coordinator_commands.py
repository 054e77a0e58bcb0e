"""The commands to a run in a cluster, for its coordinator: recorded in the main journal, and kept in its own runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from crucible_batch.api.cluster_shard import lease_clock
from crucible_batch.api.command_feed import CommandFeed
from crucible_batch.api.control_desk import Commanded
from crucible_batch.cluster import ShardKey
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.domain.cluster_control import GivenControl, pause_given
from crucible_batch.domain.control import ControlEntry, pause_of
from crucible_batch.engine import SystemClock
from crucible_batch.errors import CrucibleBatchError, RunBusyError
from crucible_batch.journal import Journal, lock_run_directory

_RECORDED: Final = "cluster_controls"
"""The note of how many commands of the database the main journal has."""


@dataclass(slots=True)
class CoordinatorCommands:
    """The commands to one run. ``main`` is its run directory, ``run`` and ``epoch`` are the coordinator's claim."""

    database: ClusterDatabase
    main: Path
    run: str
    epoch: int
    _recorded: int = -1

    async def read(self) -> list[GivenControl]:
        """Return all commands, oldest first, and record those that the main journal doesn't have yet."""
        given = await self.database.controls(self.run)
        newest = given[-1].number if given else 0
        if newest > max(0, self._recorded) or (given and self._recorded < 0):
            with contextlib.suppress(RunBusyError):  # the next time
                await record(self.main, given)
                self._recorded = newest
        return given

    def begin_wave(self) -> None:
        """Have the next ``read`` compare the journal: a merge has added a run, which is paused if the cluster's is."""
        self._recorded = -1


@asynccontextmanager
async def taken(commands: CoordinatorCommands | None) -> AsyncIterator[Commanded]:
    """Yield what performs commands in a run of the coordinator itself. None: the cluster doesn't know the run yet."""
    if commands is None:
        yield nullcontext
        return
    database, run, epoch = commands.database, commands.run, commands.epoch
    take = partial(database.take_controls, ShardKey(run, "", 0), epoch)
    feed = CommandFeed(take, monotonic=lease_clock, sleep=asyncio.sleep)
    await feed.ask()
    asking = asyncio.ensure_future(feed.keep())
    try:
        yield feed.on
    finally:
        asking.cancel()
        await asyncio.wait({asking})
        with contextlib.suppress(CrucibleBatchError):  # its row shows for a few seconds that it is gone
            await database.forget_taker(run, epoch)


async def record(main: Path, given: Sequence[GivenControl]) -> None:
    """Add commands to the main journal that it doesn't have yet, with the time at which they were given.

    They belong to the newest run in it. If that one was added by a merge, the present pause is added to it again.
    Raises ``RunBusyError`` if a run or a merge is active in the directory, and ``JournalError``.
    """
    now = SystemClock().now()
    with lock_run_directory(main):
        with Journal.read(main) as journal:
            binding = journal.binding()
        with Journal.open(main, binding, now=now) as journal:
            recorded = int(journal.noted(_RECORDED) or 0)
            new = [each for each in given if each.number > recorded]
            entries = [_entry(each, now) for each in new]
            pause = pause_given(given)
            if pause is not None and pause_of([*journal.controls(), *entries]) is None:
                entries.append(_entry(pause, now))
            for entry in entries:
                await journal.append_control(None, entry)
            journal.note(_RECORDED, str(max([recorded, *(each.number for each in given)])))


def _entry(given: GivenControl, now: float) -> ControlEntry:
    return ControlEntry(now - given.age_s, given.command, given.source)
