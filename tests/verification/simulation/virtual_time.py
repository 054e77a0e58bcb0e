"""Time that jumps: an event loop that never waits, and the clock that the engine is given."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Sequence
from typing import Any

EPOCH = 1_800_000_000.0
"""The wall clock when a simulation begins.

The loop itself counts from 0: near the epoch a float is too coarse.
"""


class DeadlockError(AssertionError):
    """Every task waits for another, and no timer is set: nothing would ever happen again."""


class _Jumping(selectors.SelectSelector):
    """A selector that is never ready; where it would wait, its clock goes on at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise DeadlockError("every task waits for another")
        self.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time.

    Sleeping costs nothing, and calls for a thread are carried out on the spot.
    """

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s

    async def run_in_executor(  # type: ignore[override]
        self, _executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """Do the work before anybody else has a turn; whoever is cancelled meanwhile finds it done,
        as with threads."""
        result = func(*args)
        await asyncio.sleep(0)
        return result


class SimulatedClock:
    """The engine's clock.

    Its wall time is wrong by what ``jumps`` say: (from this moment on, by so many seconds).
    """

    def __init__(self, jumps: Sequence[tuple[float, float]] = ()) -> None:
        self._jumps = jumps

    def now(self) -> float:
        wrong_s = next(
            (skew for since, skew in reversed(self._jumps) if since <= self.monotonic()), 0.0
        )
        return EPOCH + self.monotonic() + wrong_s

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def true_now() -> float:
    """The world's own time: what the gateway lives by, whatever our clock says."""
    return EPOCH + asyncio.get_running_loop().time()
