"""The rate of requests of all kinds, adapted to the polls that the gateway refuses (429, 503).

A gateway that limits jobs in flight never refuses a poll; one that limits requests does. Once more
polls are refused than by chance, requests are spaced evenly, polls and submits alike (a leaky
bucket):

    poll       requests per second
    refused    - 1; at first, the rate at which they were accepted
    accepted   + 1/8; unlimited if half of it is not used

So a ninth of the requests is refused in the long run, as in the outer loop of link adaptation
(OLLA), and chance below that raises the rate. Below eight requests a second, steps are shares of
the rate. In an outage the rate doesn't fall.
"""

from __future__ import annotations

import math

from crucible_batch.pace.refused_share import RefusedShare

SECOND_S = 1.0
LEAST_PER_S = 0.2  # the interval of the public guides, five seconds
TIMER_S = 0.05  # timers are late, so what was not sent for this long is made up for
_STEP = 1 / 8
_MISSED = 8


class RequestRate:
    """The rate of one run. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self.per_s = math.inf
        self._polls = RefusedShare()
        self._sent_per_s = 0.0
        self._sent_at = self._next_at = self._accepted_at = -math.inf

    @property
    def refused_share(self) -> float:
        return self._polls.share

    def next_at(self, now: float) -> float:
        """Return when the next request may be sent."""
        return max(now, self._next_at)

    def sent(self, at: float) -> None:
        """Note that a request is sent, or will be sent then."""
        self._sent_per_s = 1 + self._sent_per_s * math.exp(min(0.0, self._sent_at - at))
        self._sent_at = max(self._sent_at, at)
        if self.per_s < math.inf:
            self._next_at = max(self._next_at, at - TIMER_S) + 1 / self.per_s

    def poll_answered(self, now: float, *, is_refused: bool) -> None:
        """Note the answer to a poll or another read of a job."""
        if now > self._accepted_at + SECOND_S + _MISSED / self.per_s:  # an outage
            if is_refused:
                return
            self._polls = RefusedShare()
            self.per_s, self._next_at = math.inf, -math.inf
        self._polls.answered(self._sent_per_s, is_refused=is_refused)
        if not is_refused:
            self._accepted_at = now
            self.per_s += _STEP * min(1, _STEP * self.per_s)
            if self.per_s > 2 * self._sent_per_s:
                self.per_s, self._next_at = math.inf, -math.inf
        elif self.per_s < math.inf:
            self.submit_refused()
        elif self._polls.is_more_than_chance:
            self.per_s = (1 - self._polls.share) * self._sent_per_s

    def submit_refused(self) -> None:
        """Note a refused submit, which counts only while the rate is limited."""
        if self.per_s < math.inf:
            self.per_s = max(LEAST_PER_S, self.per_s - min(1, _STEP * self.per_s))
