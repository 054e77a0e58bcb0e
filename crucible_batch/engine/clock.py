"""The clock that the engine is given, so that tests can replace it, and a wait by it."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for timestamps, monotonic time for waits, and sleep."""

    def now(self) -> float:
        """Seconds since the epoch (UTC). May jump; never used to measure a duration."""

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back."""

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def wait_for_change(changed: asyncio.Event, clock: Clock, until: float) -> None:
    """Clear an event, and wait until it is set, or until the monotonic time ``until``.

    Infinity means that it is only waited for the event.
    """
    changed.clear()
    if until == math.inf:
        await changed.wait()
        return
    alarm = asyncio.create_task(_set_at(changed, clock, until))
    try:
        await changed.wait()
    finally:
        alarm.cancel()


async def _set_at(changed: asyncio.Event, clock: Clock, at: float) -> None:
    await clock.sleep(at - clock.monotonic())
    changed.set()
