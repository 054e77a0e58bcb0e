"""Slots: a job is active only while it has one, and their number follows from the gateway's answers.

The decision is pure (``domain.concurrency_limit``); this module waits for it. A falling limit takes no slot away:
active jobs continue, and no slot is given out until enough have been returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from crucible_batch.domain.concurrency_limit import ConcurrencyLimit
from crucible_batch.domain.progress import Observer, Throttled
from crucible_batch.engine.clock import Clock
from crucible_batch.engine.shutdown import Shutdown


class Slots:
    """All slots of a run. Everything here is called from the event loop."""

    def __init__(
        self, flow: ConcurrencyLimit, stop: Shutdown, clock: Clock, observer: Observer, *, aims: bool = False
    ) -> None:
        """``aims``: give out no more slots than keep the gateway's runners busy, once their number is known."""
        self._flow = flow
        self._aims = aims
        self._stop = stop
        self._clock = clock
        self._observer = observer
        self._told = flow.limit
        self._in_use = 0
        self._changed = asyncio.Event()
        self._paused = asyncio.Event()

    @property
    def too_many(self) -> bool:
        """Whether more jobs are active than allowed. A job that would ask for credits returns its slot then."""
        return self._in_use > self._flow.allowed

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot inside the ``async with``. A run that is stopping does not wait for the end of a pause."""
        await self._until(lambda: self._in_use < self._flow.allowed and self._is_clear())
        self._in_use += 1
        try:
            yield
        finally:
            self._in_use -= 1
            self.wake()

    async def clear(self) -> None:
        """Wait until new work may be sent to the gateway. Returns at once if the run is stopping."""
        await self._until(self._is_clear)

    def accepted(self) -> None:
        """Take in that the gateway accepted a job."""
        self._flow = self._flow.after_acceptance(self._in_use, self._clock.monotonic())
        if self._flow.limit >= min(2 * self._told, self._flow.ceiling) and self._flow.limit > self._told:
            self._tell(None)
        self.wake()

    def looked(self, runners: float | None, unseen: float, open_jobs: int) -> None:
        """Take in an answered poll. The arguments are estimates: see ``ConcurrencyLimit.aimed``."""
        before = self._flow.allowed
        self._flow = self._flow.after_answer(self._clock.monotonic())
        if self._aims:
            self._flow = self._flow.aimed(runners, unseen, max(self._in_use - open_jobs, 0))
        if self._flow.allowed > before:
            self.wake()

    def pushed_back(self, asked_s: float | None, reason: str) -> None:
        """Take in a 429 or 503 of the gateway or its storage; ``asked_s`` is its ``Retry-After`` in seconds."""
        before = self._flow.limit
        self._flow = self._flow.after_pushback(self._clock.monotonic(), asked_s or 0.0)
        if self._flow.limit < before:
            self._tell(reason)
        self._paused.set()

    def wake(self) -> None:
        """Let all waiters check their condition again."""
        self._changed.set()

    async def keep_time(self) -> None:
        """End pauses when they are over. Runs beside the workers until cancelled."""
        while True:
            await self._paused.wait()
            self._paused.clear()
            while (left_s := self._flow.resume_at - self._clock.monotonic()) > 0:
                await self._clock.sleep(left_s)
            self.wake()

    def _is_clear(self) -> bool:
        return self._stop.no_more or self._clock.monotonic() >= self._flow.resume_at

    async def _until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            self._changed.clear()
            await self._changed.wait()

    def _tell(self, reason: str | None) -> None:
        self._told = self._flow.limit
        self._observer.notify(Throttled(self._clock.now(), self._flow.limit, self._flow.ceiling, reason))
