"""The rate of requests of all kinds, adapted to the share of polls that the gateway refuses (429, 503). Pure.

A gateway that limits jobs in flight never refuses a poll. One that limits requests does, and what it accepts while it
refuses is its limit. So polls are counted in rounds, and the rate follows from each round:

    polls of a round                             requests per second
    more than the tolerated share refused        the delivered rate: what was accepted per second, since the last fall
                                                 or in ``MEMORY_S``; in the next round, as a test, ``FALL`` of that
    in the test, more than half of that share    unlimited: they are refused by chance, which is learned
    in the test, fewer                           the delivered rate
    then, as long as no more than tolerated      one in ``ROUND`` more, then 2, 4, ...
    if fewer requests were sent than allowed     unlimited: the rate is not what limits them

As long as ``PACE`` times as much is accepted as in the round before, no limit is reached (as in BBR's startup): then a
share of no more than chance may be is learned without a test.

The delivered rate is the estimate of BBR, the test is that of ``domain.concurrency_limit``, and so is the growth.
Requests are spaced evenly (GCRA), polls and submits alike. Those that are sent before a fall, or up to a second after
it, are not counted: in a limit that is counted by the second, the second of the fall is used up whatever the rate.

In an outage nothing is accepted, so no round ends, and the round that it interrupts is not counted.
"""

from __future__ import annotations

import math
from collections import deque

from crucible_batch.domain.in_flight_queue import SHORTEST_S
from crucible_batch.domain.refused_share import FALL, MOST_CHANCE, PACE, ROUND, SILENCE, is_more_than, is_unchanged

SECOND_S = 1.0
"""A round takes at least this long, since limits are counted per second, and so does an outage."""
MEMORY_S = 10.0
"""The time over which the delivered rate is averaged. A bucket that saves up a second's requests changes it by 10 %."""


class RequestRate:
    """The rate of one run. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self.per_s = math.inf
        self.chance = 0.0
        """The share of polls that is refused whatever the rate."""
        self._delivered_per_s = math.inf
        self._step = 0.0
        self._accepted_per_s = 0.0
        self._test: float | None = None
        """Of a round after a fall: the share that was refused before it."""
        self._next_at = self._fell_at = self._accepted_at = -math.inf
        self._begun_at: float | None = None
        self._streak = 0
        self._accepted = self._polls = self._refusals = 0
        self._earlier = (0, 0)
        self._delivered: deque[tuple[int, float]] = deque()
        """Of the latest rounds since the last fall: the accepted requests, and the seconds."""

    @property
    def refused_share(self) -> float:
        """The share of polls that was refused in this round and the one before it."""
        polls, refusals = self._earlier
        return (self._refusals + refusals) / max(1, self._polls + polls)

    def next_at(self, now: float) -> float:
        """Return when the next request may be sent."""
        return max(now, self._next_at)

    def sent(self, at: float) -> None:
        """Note that a request is sent, or will be sent then."""
        if self.per_s < math.inf:
            self._next_at = max(self._next_at, at - SHORTEST_S) + 1 / self.per_s  # timers are late

    def submit_answered(self, sent_at: float, *, is_refused: bool) -> None:
        """Note the answer to a submit. One that is refused may have been so because of the jobs in flight."""
        if sent_at > self._fell_at:
            self._accepted += not is_refused

    def poll_answered(self, now: float, sent_at: float, *, is_refused: bool) -> None:
        """Note the answer to a poll or another read of a job, sent at ``sent_at``."""
        if sent_at <= self._fell_at:
            return
        if self._begun_at is None:
            self._begin(now)
        if is_refused:
            self._streak += 1
        elif self._streak >= SILENCE and now - self._accepted_at > SECOND_S:
            self._begin(now)
        self._polls += 1
        self._refusals += is_refused
        if is_refused:
            return
        self._streak, self._accepted_at = 0, now
        self._accepted += 1
        if self._polls >= ROUND and self._begun_at is not None and now - self._begun_at >= SECOND_S:
            self._end_round(now, now - self._begun_at)

    def _end_round(self, now: float, round_s: float) -> None:
        share, test = self._refusals / self._polls, self._test
        self._test = None
        self._note_delivered(round_s)
        accepted_per_s = self._accepted / round_s
        before, self._accepted_per_s = PACE * self._accepted_per_s, accepted_per_s
        is_over = is_more_than(self.chance, self._refusals, self._polls)
        has_grown = is_over and test is None and accepted_per_s > before and share <= 2 * MOST_CHANCE
        if has_grown or (test is not None and is_unchanged(test, share)):
            self.chance = min(share, MOST_CHANCE)
            self._unlimit()
        elif is_over:
            self._fall(now, share)
        else:
            self.chance += (min(share, MOST_CHANCE) - self.chance) / (2 if test is not None else 8)
            if test is not None:
                self.per_s = self._delivered_per_s
            elif accepted_per_s < self.per_s / PACE:
                self._unlimit()
            else:
                self.per_s += self._step
                self._step *= 2
        self._earlier = (self._polls, self._refusals)
        self._begin(max(now, self._fell_at))

    def _note_delivered(self, round_s: float) -> None:
        rounds = self._delivered
        rounds.append((self._accepted, round_s))
        while sum(seconds for _, seconds in rounds) - rounds[0][1] >= MEMORY_S:
            rounds.popleft()

    def _fall(self, now: float, share: float) -> None:
        rounds = self._delivered
        self._delivered_per_s = sum(count for count, _ in rounds) / sum(seconds for _, seconds in rounds)
        rounds.clear()
        self.per_s = FALL * self._delivered_per_s
        self._step = self._delivered_per_s / ROUND
        self._test = share
        self._fell_at = now + SECOND_S

    def _unlimit(self) -> None:
        self.per_s, self._next_at = math.inf, -math.inf

    def _begin(self, now: float) -> None:
        self._begun_at = now
        self._accepted = self._polls = self._refusals = 0
