"""How many of our jobs the gateway runs at once: told by where, in submit order, running turns into queued.

The gateway doesn't say how many runners it has, nor who else uses them. But where it takes jobs in turn, the k-th job
has begun when ``running + ended > k``; so each look that finds the k-th job running, ended or queued is an answer, yes
or no, to whether the sum of two uncertain numbers is above k. Both are held as normal distributions, and an answer
moves and narrows them as a probit regression would (the moments of a truncated normal, as in TrueSkill: Herbrich and
others, 2006). What belies the estimate moves it far, what bears it out hardly at all.
"""

from __future__ import annotations

import math

_FIRST_MEAN = 32.0
_FIRST_VARIANCE = 32.0**2
_WIDEST = 512.0**2
_NARROWEST = 0.25
_DRIFT_PER_S = 0.02
"""Variance a second: other people's jobs come and go. A job more or less within a minute is nothing special."""
_ROUNDING = 0.25
"""Variance of what is counted in whole jobs and estimated in parts of them."""
_SURPRISING_Z = 2.5
_WIDENING = 2.0
"""Variance grows so, where answers near the edge go one way again and again: it is further off than was thought."""
_FADES = 0.95


class RunnerCount:
    """The estimate at one moment. ``mean`` may be a fraction."""

    def __init__(self) -> None:
        self.mean = _FIRST_MEAN
        self.skew = 0.0
        """By how much the count of ended jobs that nobody has seen yet is off, as far as answers have shown."""
        self._variance = _FIRST_VARIANCE
        self._moved_at: float | None = None
        self._last_answer: bool | None = None

    @property
    def is_vague(self) -> bool:
        """Whether it is worth a look at a job that can't be done yet, to know more."""
        return self._variance > max(9.0, self.mean * self.mean / 25)

    def begun(self, ended: float) -> float:
        """Say how many jobs have begun to run in all, where so many have ended."""
        return self.mean + ended + self.skew

    def answer(self, number: int, began: bool, ended: float, ended_variance: float, now: float) -> bool:
        """Take in whether the job with this number in submit order, from 0, has begun. True if that is a surprise.

        ``ended`` is how many of the others have ended, seen or not, with its variance.
        """
        self._drift(now)
        sign = 1.0 if began else -1.0
        noise = ended_variance + _ROUNDING
        spread = math.sqrt(self._variance + noise)
        z = sign * (self.begun(ended) - number - 0.5) / spread
        if z < 1:
            if self._last_answer is began:
                self._variance = min(self._variance * _WIDENING, _WIDEST)
            self._last_answer = began
        pull = _pull(z)
        self.mean = max(1.0, self.mean + sign * self._variance / spread * pull)
        self.skew = _FADES * (self.skew + sign * noise / spread * pull)
        left = 1 - self._variance / (self._variance + noise) * pull * (pull + z)
        self._variance = max(_NARROWEST, self._variance * max(left, 0.0))
        return z < -_SURPRISING_Z

    def _drift(self, now: float) -> None:
        if self._moved_at is not None:
            self._variance = min(self._variance + _DRIFT_PER_S * (now - self._moved_at), _WIDEST)
        self._moved_at = now


def _pull(z: float) -> float:
    """By how many deviations the mean of a normal moves when it turns out to be above ``-z``."""
    if z < -6:  # the tail's own asymptote; the quotient would be 0/0 soon
        return -z
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / (0.5 * math.erfc(-z / math.sqrt(2)))
