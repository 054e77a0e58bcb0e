"""The queue of shards without Procrastinate: tasks are hints, and may be lost or delivered twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

from crucible_batch.cluster import ShardKey
from crucible_batch.cluster.queue import ShardHandler
from crucible_batch.errors import ClusterUnreachableError
from tests.verification.fleet.network import Link

_LONGEST_S = 5.0
"""A worker looks for tasks this often if it isn't woken up."""


class Tasks:
    """The tasks that wait, each once. A task that was fetched is gone, whatever becomes of its worker."""

    def __init__(self, chance: random.Random, *, twice: float = 0.05, lost: float = 0.05) -> None:
        self.chance, self.twice, self.lost = chance, twice, lost
        self.waiting: dict[ShardKey, None] = {}

    def add(self, key: ShardKey) -> bool:
        if key in self.waiting or self.chance.random() < self.lost:
            return False
        self.waiting[key] = None
        return True

    def fetch(self) -> ShardKey | None:
        if not self.waiting:
            return None
        key = next(iter(self.waiting))
        if self.chance.random() >= self.twice:
            del self.waiting[key]
        return key


class SimulatedQueue:
    """What a process uses of ``ShardQueue``."""

    def __init__(self, tasks: Tasks, link: Link) -> None:
        self._tasks, self._link = tasks, link

    async def __aenter__(self) -> SimulatedQueue:
        await self._reach()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        return

    async def _reach(self) -> None:
        try:
            await self._link.carry(list)
        except OSError as error:
            raise ClusterUnreachableError(f"the queue can't be reached: {error}", hint="wait") from None

    async def defer(self, keys: Iterable[ShardKey]) -> int:
        await self._reach()
        return sum([self._tasks.add(key) for key in list(keys)])

    async def waiting(self) -> int:
        await self._reach()
        return len(self._tasks.waiting)

    async def drop_stalled(self) -> None:
        await self._reach()

    async def serve(self, handler: ShardHandler, stop: asyncio.Event, *, name: str) -> None:
        chance = self._link.chance
        while not stop.is_set():
            key = self._tasks.fetch() if self._link.has_database else None
            if key is not None:
                await handler(key)
                await asyncio.sleep(0)
                continue
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait({stopping}, timeout=chance.uniform(0.2, _LONGEST_S))
            stopping.cancel()
