"""The limit of concurrent jobs, adapted to the share of submits that the gateway pushes back (429, 503).

A single pushback proves nothing: a gateway may refuse one request in a hundred whatever its load. So answers are
counted in rounds of as many submits as the limit allows, at least ``ROUND``:

    answers to submits                       limit
    all accepted, from the start             + 1 each: it doubles in a round trip (slow start)
    a round within the tolerated share       half the way back to where it fell, then + 1, + 2, + 4, ...
    more than that refused                   ``FALL`` of it, but no less than the jobs that the gateway held whenever
                                             it refused; the next round is a test of the cause
    ``SILENCE`` refused one after another    the jobs that the gateway holds; then one submit at a time

A gateway with room for so many jobs holds at least that many when it refuses one more, so a fall below that number
would leave room unused. TCP Westwood falls to what the network has delivered for the same reason. Submits that were
sent before a fall don't depend on the lower limit, and are not counted (one reduction for each round trip).

The test after a fall distinguishes load from chance and from submits that are too close. Refusals because of load
become fewer with fewer jobs, those by chance do not: if at the lower limit still more than half of the earlier share is
refused, the share is learned as chance, is tolerated from then on, and the limit is restored. It is also restored if
only submits were refused that came too soon after others: then these are spaced (``domain.submit_interval``).

Growth by half the way is that of BIC TCP; a share that depends on the limit is the signal of DCTCP (RFC 8257). The
limit at which slow start fell was passed in a moment, so the way back does not lead there. Limits below ``1 / STEP``
grow by ``STEP`` of themselves instead of by 1.

``python -m benchmarks pushback`` tests the rule against gateways of many kinds.

Polls are refused by chance, or by a limit of requests of all kinds, but never because of the jobs in flight. So what is
refused of submits counts only as far as it is more than the share of polls; of such a limit, the rate of all requests
takes care (``domain.request_rate``).

From the first fall on, submits are also spaced evenly over the time that jobs hold their places, as TCP's pacing does
with packets: a limit of requests per second is not met in bursts, and may be less than one job at a time. Jobs that
were submitted before a silence include its time, and are not measured.

Slow start ends at ``FIRST_MOST``. From there on the limit grows only in rounds in which no polled job is queued at the
gateway: more would only wait there.
"""

from __future__ import annotations

import math
from collections import deque

from crucible_batch.domain.gateway_types import JobStatus
from crucible_batch.domain.refused_share import FALL, MOST_CHANCE, PACE, ROUND, SILENCE, is_more_than, is_unchanged
from crucible_batch.domain.request_rate import RequestRate
from crucible_batch.domain.submit_interval import SubmitInterval

FIRST_LIMIT = 4
MOST_BY_ITSELF = 256
"""The maximum if no concurrency is configured. A request takes more CPU time the more are in flight: ``make bench
ONLY=concurrency`` shows how much."""
FIRST_MOST = 64
"""Where slow start ends. The limit then grows by 1, 2, 4, ... each round."""
STEP = 1 / 3
"""The share of itself by which a small limit grows at first: one more would be twice as many at a limit of 1."""
PROBE_S = 1.0
"""The seconds between two submits to a gateway that refuses all, if it asks for no longer wait."""
LEAST = 0.25
"""The lowest limit. Below 1, one job at a time, and pauses between them."""
_WEIGHT = 1 / 16


class ConcurrencyLimit:
    """The limit of one run. Times are seconds of one monotonic clock."""

    def __init__(self, ceiling: int, first: int) -> None:
        self.ceiling = ceiling
        self.limit = float(first)
        self.chance = 0.0
        """The share of submits that is refused whatever the limit."""
        self._starts = True
        self._step = 1.0
        self._fell_from = 0.0
        self._count = self._refusals = 0
        self._recent: deque[bool] = deque(maxlen=ROUND)
        self._test: tuple[float, float, bool] | None = None
        """Of a round after a fall: the limit before it, the share that was refused then, and whether it grew freely."""
        self._streak = 0
        self._probe_at = -math.inf
        self._is_asked_to_wait = False
        self._last_at = -math.inf
        self._job_s: float | None = None
        self._has_queue = False
        self.requests = RequestRate()
        self._interval = SubmitInterval()
        self._fell_at = self._silent_at = -math.inf
        self._held = math.inf
        """The fewest jobs that the gateway had when it refused a submit of this round."""

    @property
    def allowed(self) -> int:
        """The number of jobs that may be active at the same time, at least 1."""
        return max(1, math.floor(self.limit + 1e-9))

    @property
    def is_silent(self) -> bool:
        """Whether the gateway has refused all of the latest submits. One at a time is sent then."""
        return self._streak >= SILENCE

    def set_ceiling(self, ceiling: int) -> None:
        """Change the ceiling. The limit rises to it immediately, except after a fall: then it grows as before."""
        self.ceiling = ceiling
        has_fallen = self._fell_from > 0
        self.limit = min(self.limit, ceiling) if has_fallen else float(ceiling)
        self._fell_from = min(self._fell_from, ceiling)

    def next_submit_at(self, now: float, unanswered: int) -> float:
        """Return when the next submit may be sent; infinity: not before an ``unanswered`` one is answered."""
        if self.is_silent:
            return math.inf if unanswered else max(now, self._probe_at)
        spread_s = 0.0 if self._starts or self._job_s is None else self._job_s / (PACE * self.limit)
        return max(self.requests.next_at(now), self._last_at + max(spread_s, self._interval.interval_s))

    def submitted(self, now: float) -> None:
        """Note that a submit is sent."""
        self._last_at = now
        self.requests.sent(now)

    def accepted(self, sent_at: float) -> None:
        """Note that the submit that was sent then was accepted."""
        self._streak = 0
        self.requests.submit_answered(sent_at, is_refused=False)
        if self._starts:
            self.limit = min(self.ceiling, self.limit + 1)
            self._starts = self.limit < FIRST_MOST
        self._answered(sent_at, refused=False)

    def refused(self, now: float, sent_at: float, retry_after_s: float, in_flight: int) -> None:
        """Note a 429 or 503 to a submit, with its ``Retry-After``. ``in_flight`` jobs are accepted and not ended."""
        self._streak += 1
        self.requests.submit_answered(sent_at, is_refused=True)
        self._held = min(self._held, in_flight)
        if self.is_silent:
            self._silent_at = now
            self._probe_at = now + max(PROBE_S, retry_after_s)
            self._is_asked_to_wait = retry_after_s > PROBE_S
        if self._streak == SILENCE:
            self.limit = self._test[0] if self._test is not None else self.limit
            self._fall_to(max(1.0, in_flight), share=1.0)
        elif self._streak < SILENCE:
            self._answered(sent_at, refused=True)

    def ended(self, sent_at: float, job_s: float) -> None:
        """Note that a job has left its place, ``job_s`` after its submit was sent."""
        if self._job_s is None:
            self._job_s = job_s
        elif sent_at > self._silent_at:
            self._job_s += _WEIGHT * (job_s - self._job_s)
        # The gateway has a free place now, unless it asked for a wait.
        if not self._is_asked_to_wait:
            self._streak = min(self._streak, SILENCE - 1)

    def polled(self, status: JobStatus) -> None:
        """Note the status of a job that has not ended."""
        self._has_queue = self._has_queue or status is JobStatus.QUEUED

    def _answered(self, sent_at: float, *, refused: bool) -> None:
        if sent_at <= self._fell_at:
            return
        size = max(ROUND, self.allowed)
        if size != self._recent.maxlen:
            self._recent = deque(self._recent, maxlen=size)
        self._recent.append(refused)
        self._interval.answered(sent_at, is_refused=refused)
        self._count += 1
        self._refusals += refused
        elsewhere = max(self.chance, self.requests.refused_share)
        if refused and is_more_than(elsewhere, self._refusals, size):
            if self._is_chance():
                self._learn_chance()
            elif self._interval.learn():
                self._restore()
            else:
                share = sum(self._recent) / len(self._recent)
                self._fall_to(max(FALL * self.limit, self._held), share=share)
        elif self._count >= size:
            self._passed()

    def _is_chance(self) -> bool:
        """Whether the test after a fall shows that the lower limit changes little: half of a round is enough."""
        if self._test is None or self._count < ROUND / 2:
            return False
        return is_unchanged(self._test[1], self._refusals / self._count)

    def _learn_chance(self) -> None:
        self.chance = min(self._refusals / self._count, MOST_CHANCE)
        self._restore()

    def _restore(self) -> None:
        """Take back the latest falls: the limit was not what submits were refused for."""
        if self._test is not None:
            before, _, self._starts = self._test
            self.limit = max(self.limit, before)
        self._fell_at = self._last_at
        self._next_round(None)

    def _fall_to(self, limit: float, *, share: float) -> None:
        before, _, started = self._test or (self.limit, 0.0, self._starts)
        fell_from = self.limit
        self.limit = max(LEAST, min(self.limit, limit))
        self._fell_from = self.limit if started else fell_from
        self._fell_at = self._last_at
        self._interval.failed()
        self._starts, self._step = False, min(1.0, STEP * self.limit)
        self._next_round((before, share, started))

    def _passed(self) -> None:
        """End a round in which no more than the tolerated share was refused."""
        if self._is_chance():
            self._learn_chance()
            return
        if self._test is not None and self._interval.learn():
            self._restore()
            return
        self._interval.passed()
        share = min(self._refusals / self._count, MOST_CHANCE)
        self.chance += (share - self.chance) / (2 if self._test is not None else 8)
        if not self._starts and not (self._has_queue and self.limit >= FIRST_MOST):
            if self.limit < self._fell_from:
                self.limit += max(self._step, (self._fell_from - self.limit) / 2)
            else:
                self.limit += self._step
                self._step *= 2
            self.limit = min(self.ceiling, self.limit)
        self._next_round(None)

    def _next_round(self, test: tuple[float, float, bool] | None) -> None:
        self._test = test
        self._count = self._refusals = 0
        self._held = math.inf
        self._has_queue = False


def initial_limit(concurrency: int | None) -> ConcurrencyLimit:
    """Return the limit at the start: ``concurrency``, which is never exceeded; None starts low and adapts."""
    if concurrency is None:
        return ConcurrencyLimit(MOST_BY_ITSELF, FIRST_LIMIT)
    return ConcurrencyLimit(concurrency, concurrency)
