"""A worker: it takes the shards of a run by the run's store alone, and runs them one after another.

A shard is free if its log is empty, if its last run was interrupted, or if the log has not grown
for 15 seconds by this worker's clock. No clocks are compared, and nobody hands shards out: if two
workers begin one, its log lets one of them continue, and the other takes another shard.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass, field

from crucible_batch.core.sharding import ShardId
from crucible_batch.engine import Clock, SystemClock
from crucible_batch.errors import CrucibleBatchError, ExitCode
from crucible_batch.features.machines.shard_process import ShardProcess, ShardTask
from crucible_batch.features.shards.log import ShardLog, ShardTail
from crucible_batch.features.shards.stored_plans import fetch_stored_plan
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import ObjectPort
from crucible_batch.runs.divided_plans import read_list
from crucible_batch.settings import Settings

logger = logging.getLogger(__name__)

_POLL_S = 1.0
_LOOKED_AT = 16
"""The shards that an idle worker reads in each round: a hundred of them don't read all logs each
second."""
_AWAY_S = 60.0
"""How long a shard is left to others after it could not be run here."""
_DONE = frozenset({ExitCode.OK, ExitCode.SOME_FAILED, ExitCode.OUT_OF_CREDITS, ExitCode.BUSY})


@dataclass(slots=True)
class Worker:
    """Serves one run until ``stop`` is set.

    Its shards have its ``settings``. ``drains``: it ends once no shard is left to be run.
    """

    url: ObjectUrl
    objects: ObjectPort
    stop: asyncio.Event
    settings: Settings
    drains: bool = False
    clock: Clock = field(default_factory=SystemClock)
    _tails: dict[str, list[ShardTail]] = field(default_factory=dict, init=False)
    _away_until: dict[tuple[str, int], float] = field(default_factory=dict, init=False)

    async def serve(self) -> None:
        """Take one shard after another. What the store doesn't answer is asked again."""
        while not self.stop.is_set():
            try:
                tail = await self._free_shard()
                if tail is not None:
                    await self._run(tail)
                    continue
                if self.drains and not any(self._left()):
                    return
            except CrucibleBatchError as error:
                logger.warning("%s", error.message)
            await self._pause(_POLL_S)

    async def _free_shard(self) -> ShardTail | None:
        await self._read_plans()
        left = self._left()
        chosen = random.sample(left, min(_LOOKED_AT, len(left)))
        for tail in sorted(chosen, key=lambda tail: tail.log.position == 0):
            await tail.read()
            if self._is_free(tail):
                return tail
        return None

    async def _read_plans(self) -> None:
        """Learn of the plans that wait for their merge."""
        waiting = (await read_list(self.objects)).unmerged
        self._tails = {digest: self._tails[digest] for digest in waiting if digest in self._tails}
        for digest in waiting:
            if digest not in self._tails:
                count = len((await fetch_stored_plan(self.url, digest)).head.shards)
                logs = (
                    ShardLog(self.objects, digest, ShardId(number, count))
                    for number in range(1, count + 1)
                )
                self._tails[digest] = [ShardTail(log, self.clock) for log in logs]

    def _left(self) -> list[ShardTail]:
        tails = (tail for tails in self._tails.values() for tail in tails)
        return [tail for tail in tails if not tail.has_ended]

    def _is_free(self, tail: ShardTail) -> bool:
        if tail.has_ended:
            return False
        if self.clock.monotonic() < self._away_until.get(_key(tail), 0.0):
            return False
        return not tail.may_be_running or tail.is_silent

    async def _run(self, tail: ShardTail) -> None:
        """Run a shard in a child process, which winds down when this worker is to stop."""
        shard = tail.log.shard
        logger.info("shard %s of plan %s begins", shard, tail.log.plan[:8])
        task = ShardTask(self.url, tail.log.plan, shard.number, watched=tail.silent_at)
        process = ShardProcess(task, self.settings)
        ended = asyncio.ensure_future(process.ended())
        stopping = asyncio.ensure_future(self.stop.wait())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            process.wind_down()
        end = await ended
        logger.info("shard %s of plan %s: exit code %d", shard, tail.log.plan[:8], end.exit_code)
        if end.exit_code not in _DONE and not self.stop.is_set():
            logger.warning("shard %s can't be run here: %s", shard, end.printed)
            self._away_until[_key(tail)] = self.clock.monotonic() + _AWAY_S

    async def _pause(self, seconds: float) -> None:
        waiting = asyncio.ensure_future(self.stop.wait())
        await asyncio.wait({waiting}, timeout=seconds)
        waiting.cancel()


def _key(tail: ShardTail) -> tuple[str, int]:
    return tail.log.plan, tail.log.shard.number
