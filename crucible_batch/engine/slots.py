"""Slots: a job is at work only while it has one, and how many there are follows from how the gateway answers.

The decision is pure (``domain.concurrency_limit``); here it is waited for. A limit that falls takes no slot away: what
is under way continues, and no slot is given out until enough of them are back.
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
        """``aims``: give no more slots than keep the gateway's runners at work, once that is known."""
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
        """Whether more jobs are at work than the gateway is to see: one that would begin anew gives its slot back."""
        return self._in_use > self._flow.allowed

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot, and have it inside. A run that is to stop doesn't wait for the end of a pause."""
        await self._until(lambda: self._in_use < self._flow.allowed and self._is_clear())
        self._in_use += 1
        try:
            yield
        finally:
            self._in_use -= 1
            self.wake()

    async def clear(self) -> None:
        """Wait until the gateway may be asked for something new. Returns at once in a run that is to stop."""
        await self._until(self._is_clear)

    def accepted(self) -> None:
        """The gateway took a job."""
        self._flow = self._flow.after_acceptance(self._in_use, self._clock.monotonic())
        if self._flow.limit >= min(2 * self._told, self._flow.ceiling) and self._flow.limit > self._told:
            self._tell(None)
        self.wake()

    def looked(self, runners: float | None, unseen: float, open_jobs: int) -> None:
        """The gateway answered a look. The rest is what is known by now: see ``ConcurrencyLimit.aimed``."""
        before = self._flow.allowed
        self._flow = self._flow.after_answer(self._clock.monotonic())
        if self._aims:
            self._flow = self._flow.aimed(runners, unseen, max(self._in_use - open_jobs, 0))
        if self._flow.allowed > before:
            self.wake()

    def pushed_back(self, asked_s: float | None, reason: str) -> None:
        """The gateway, or its storage, asked for less; ``asked_s`` is the wait that it named."""
        before = self._flow.limit
        self._flow = self._flow.after_pushback(self._clock.monotonic(), asked_s or 0.0)
        if self._flow.limit < before:
            self._tell(reason)
        self._paused.set()

    def wake(self) -> None:
        """Something has changed: those that wait look again."""
        self._changed.set()

    async def keep_time(self) -> None:
        """End pauses when their time is over. Runs beside the workers until it is cancelled."""
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
