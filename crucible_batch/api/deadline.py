"""The time that a whole command may take, from its first moment: what comes before the first purchase included."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from crucible_batch.errors import DeadlineError


class Deadline:
    """Counts from when it is made. None never comes."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def left_s(self) -> float | None:
        """How many seconds are left, 0 or more; None where there is no end."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def check(self) -> None:
        """Raise ``DeadlineError`` once the time is over: for work that awaits nothing."""
        if self.left_s == 0:
            raise DeadlineError

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Cancel what is awaited within once the time is over, and raise ``DeadlineError``."""
        scope = asyncio.timeout(self.left_s)
        try:
            async with scope:
                yield
        except TimeoutError:
            if scope.expired():
                raise DeadlineError from None
            raise


NO_DEADLINE = Deadline(None)
