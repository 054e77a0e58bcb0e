"""The rate at which a run's jobs end, and an estimate of the time left.

Pure; time is an argument.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

RATE_WINDOW = 200
"""The number of jobs that the rate is computed over: enough to be stable, few enough to follow a
change.
"""

_FOUR_OF_FIVE = 1.28
"""The number of standard deviations on either side that covers four of five cases."""


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """The estimated time left, with the bounds that hold in four of five cases.

    ``high_s`` is None if too few jobs have ended for an upper bound.
    """

    likely_s: float
    low_s: float
    high_s: float | None


class Pace:
    """The times at which the last jobs ended, up to ``RATE_WINDOW``."""

    def __init__(self, began_at: float = 0.0, ended_at: Iterable[float] = ()) -> None:
        self._began_at = began_at
        self._ended_at: deque[float] = deque(ended_at, maxlen=RATE_WINDOW)

    def ended(self, at: float, count: int = 1) -> None:
        """Record the end of a job, or of several at about the same time."""
        self._ended_at.extend([at] * min(count, RATE_WINDOW))

    def per_min(self, now: float) -> float | None:
        """Return jobs per minute; None while too few data exist."""
        if not self._ended_at:
            return None
        began_at = self._ended_at[0]
        if len(self._ended_at) < RATE_WINDOW:
            began_at = self._began_at
        lasted_s = now - began_at
        if lasted_s <= 0.5:
            return None
        return len(self._ended_at) * 60 / lasted_s

    def left(self, jobs: int, now: float) -> TimeLeft | None:
        """Estimate how long ``jobs`` more jobs will take; None if there are none, or if there is no
        rate yet.

        The spread is that of a count: if a window has n ends, another such window has n plus or
        minus its square root.
        """
        rate = self.per_min(now)
        if not rate or not jobs:
            return None
        likely_s = jobs * 60 / rate
        spread = _FOUR_OF_FIVE / math.sqrt(len(self._ended_at))
        most_s = likely_s / (1 - spread) if spread < 0.9 else None
        return TimeLeft(likely_s, likely_s / (1 + spread), most_s)
