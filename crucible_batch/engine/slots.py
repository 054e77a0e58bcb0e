"""Slots: a job is active only while it has one, and their number follows from the gateway's answers
to submits.

The decision is pure (``pace.concurrency``); this module waits for it. A falling limit takes no slot
away: active jobs continue, and no slot is given out until enough have been returned. A job whose
submit is pushed back lends its slot to another job for as long as it waits.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from crucible_batch.core.progress import Observer, Throttled
from crucible_batch.engine.clock import Clock, wait_for_change
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.pace.concurrency import ConcurrencyLimit

_REPORTED_BELOW = 0.75
"""A lower limit is reported once it has fallen by a quarter: at a full gateway it always moves a
little.
"""


@dataclass(eq=False, slots=True)
class Slot:
    """The slot of one job."""

    submitted_at: float = 0.0
    """When the latest submit of its job was sent, by the monotonic clock; 0 before the first."""
    is_accepted: bool = False


class Slots:
    """All slots of a run. Everything here is called from the event loop."""

    def __init__(
        self, limit: ConcurrencyLimit, stop: Shutdown, clock: Clock, observer: Observer
    ) -> None:
        self.limit = limit
        self._stop = stop
        self._clock = clock
        self._observer = observer
        self._reported = limit.allowed
        self._in_use = 0
        self._at_gateway: set[Slot] = set()
        """The slots of jobs that the gateway has, or may have: from their submit to their end."""
        self._unanswered: set[Slot] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sending = asyncio.Lock()
        self._changed = asyncio.Event()

    @property
    def too_many(self) -> bool:
        """Whether more jobs are active than allowed.

        A job that would ask for credits returns its slot then.
        """
        return self._in_use > self.limit.allowed

    @property
    def at_gateway(self) -> int:
        """How many jobs with a slot the gateway has, or may have."""
        return len(self._at_gateway)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Slot]:
        """Hold a slot inside the ``async with``.

        Slots are given out in the order in which they are asked for.
        """
        await self._acquire()
        slot = Slot()
        try:
            yield slot
        finally:
            self._close(slot)
            self._return()

    async def wait_for_turn(self, slot: Slot) -> None:
        """Wait until the job's submit may be sent: within the limit, and spaced from others. Call
        right before it.

        A run that is stopping does not wait.
        """
        async with self._sending:
            while not self._stop.no_more:
                at = self._next_submit_at()
                if at <= self._clock.monotonic():
                    break
                await wait_for_change(self._changed, self._clock, at)
            slot.submitted_at, slot.is_accepted = self._clock.monotonic(), False
            self._at_gateway.add(slot)
            self._unanswered.add(slot)
            self.limit.submitted(slot.submitted_at)

    def accepted(self, slot: Slot) -> None:
        """Note that the gateway accepted the submit."""
        self._unanswered.discard(slot)
        slot.is_accepted = True
        self.limit.accepted()
        if (
            self.limit.allowed >= min(2 * self._reported, self.limit.ceiling)
            and self.limit.allowed > self._reported
        ):
            self._report(None)
        self.wake()

    def refused(self, slot: Slot, asked_s: float | None, reason: str) -> None:
        """Note a 429 or 503 to the submit; ``asked_s`` is its ``Retry-After`` in seconds."""
        self.left_gateway(slot)
        in_flight = len(self._at_gateway) - len(self._unanswered)
        self.limit.refused(self._clock.monotonic(), slot.submitted_at, asked_s or 0.0, in_flight)
        if self.limit.allowed <= _REPORTED_BELOW * self._reported:
            self._report(reason)
        self.wake()

    def left_gateway(self, slot: Slot) -> None:
        """Note that the slot's job is no longer at the gateway: it was not sent, was refused, or
        has ended.
        """
        self._unanswered.discard(slot)
        self._at_gateway.discard(slot)
        self._changed.set()

    async def lend(self, wait_s: float) -> None:
        """Let another job have the caller's slot for ``wait_s`` seconds."""
        self._return()
        try:
            await self._clock.sleep(wait_s)
        finally:
            self._in_use += 1

    @asynccontextmanager
    async def given_back(self, holds_credits: bool = False) -> AsyncIterator[None]:
        """Return the caller's slot for the ``async with``, and wait for another one at its end.

        A job that ``holds_credits`` does not wait: all slots may be those of jobs that wait for its
        credits. Then more jobs are active than allowed, as after ``lend``, and not more at the
        gateway.
        """
        self._return()
        try:
            yield
            if holds_credits:
                self._in_use += 1
            else:
                await self._acquire()
        except BaseException:
            self._in_use += 1  # the caller returns it
            raise

    def found_at_gateway(self, slot: Slot) -> None:
        """Note that the slot's job is at the gateway; an earlier run may have submitted it."""
        self._at_gateway.add(slot)

    def set_ceiling(self, ceiling: int) -> None:
        """Change the most jobs that may be active. Those above it keep their slots."""
        self.limit.set_ceiling(ceiling)
        self._reported = self.limit.allowed
        self.wake()

    def wake(self) -> None:
        """Let all waiters check their condition again."""
        self._changed.set()
        while self._waiting and self._in_use < self.limit.allowed:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._in_use += 1
                waiter.set_result(None)

    async def _acquire(self) -> None:
        if not self._waiting and self._in_use < self.limit.allowed:
            self._in_use += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._return()
            raise

    def _return(self) -> None:
        self._in_use -= 1
        self.wake()

    def _next_submit_at(self) -> float:
        # More may be active than at the gateway: jobs with lent slots, and those that wait for
        # credits.
        if len(self._at_gateway) >= self.limit.allowed:
            return math.inf
        return self.limit.next_submit_at(self._clock.monotonic(), len(self._unanswered))

    def _close(self, slot: Slot) -> None:
        if slot.is_accepted:
            self.limit.ended(slot.submitted_at, self._clock.monotonic() - slot.submitted_at)
        self.left_gateway(slot)

    def _report(self, reason: str | None) -> None:
        self._reported = self.limit.allowed
        self._observer.notify(
            Throttled(self._clock.now(), self._reported, self.limit.ceiling, reason)
        )
