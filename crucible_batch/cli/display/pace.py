"""How fast a run gets on, and how long the rest will take: as sure as so few jobs let anybody be. Pure."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

RATE_WINDOW = 200
"""Jobs that the rate is taken over: enough to be calm, few enough to follow a change."""

BYTES_WINDOW_S = 10.0

_FOUR_OF_FIVE = 1.28
"""Standard deviations to either side within which four of five cases lie."""


@dataclass(frozen=True, slots=True)
class Left:
    """The time that the rest will take, and between which figures it lies in four of five cases.

    ``high_s`` is None where so little has happened that anything may come.
    """

    likely_s: float
    low_s: float
    high_s: float | None


class Pace:
    """When jobs ended, as far back as the window reaches."""

    def __init__(self, began_at: float = 0.0) -> None:
        self._began_at = began_at
        self._ended_at: deque[float] = deque(maxlen=RATE_WINDOW)

    def ended(self, at: float) -> None:
        """Take in that a job has ended."""
        self._ended_at.append(at)

    def per_min(self, now: float) -> float | None:
        """Jobs a minute; None before there is anything to go by."""
        if not self._ended_at:
            return None
        whole = len(self._ended_at) < RATE_WINDOW
        since = now - (self._began_at if whole else self._ended_at[0])
        return len(self._ended_at) * 60 / since if since > 0.5 else None

    def left(self, jobs: int, now: float) -> Left | None:
        """Say how long so many more jobs will take; None where there are none, or nobody can know.

        The spread is that of a count: of n ends in a window, another such window has n plus or minus its root.
        """
        rate = self.per_min(now)
        if not rate or not jobs:
            return None
        likely_s = jobs * 60 / rate
        spread = _FOUR_OF_FIVE / math.sqrt(len(self._ended_at))
        return Left(likely_s, likely_s / (1 + spread), likely_s / (1 - spread) if spread < 0.9 else None)


class Throughput:
    """Bytes that went by: in all, and how fast lately."""

    def __init__(self) -> None:
        self.total = 0
        self._first_at: float | None = None
        self._lately: deque[tuple[float, int]] = deque()

    def add(self, byte_size: int, now: float) -> None:
        """Take in bytes that have arrived since the last time."""
        self.total += byte_size
        self._first_at = now if self._first_at is None else self._first_at
        self._lately.append((now, byte_size))
        self._forget(now)

    def per_s(self, now: float) -> float:
        """Bytes a second over the last few seconds, 0 where there were none."""
        if self._first_at is None:
            return 0.0
        lately = list(self._lately)  # whole at once: a drawing thread reads it
        window_s = min(BYTES_WINDOW_S, max(1.0, now - self._first_at))
        return sum(size for at, size in lately if now - at < BYTES_WINDOW_S) / window_s

    def _forget(self, now: float) -> None:
        while self._lately and now - self._lately[0][0] >= BYTES_WINDOW_S:
            self._lately.popleft()
