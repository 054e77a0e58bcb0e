"""The limit of concurrent jobs, adapted to the submits that the gateway refuses (429, 503).

    answer to a submit                               limit
    from the start, until more than chance refused   + 1 if accepted, - 1 if refused (slow start)
    accepted                                         + 1/8; a limit below 8: + 1/64 of itself
    refused, as often as polls are by chance         the same as before
    refused                                          - 1/8 of itself, once in a round trip
    ``SILENCE`` refused one after another            the jobs that the gateway holds, then slow
                                                     start again

The growth and the fall are those of Scalable TCP (Kelly 2003). At a full gateway, a ninth of the
submits is refused at a small limit, and fewer at a larger one, so runs that share a gateway get
like shares. Refusals by chance don't end slow start (``pace.refused_share``). Later, a token bucket
tolerates twice the share of polls that is refused, as in a retry budget, since no poll is refused
because of the jobs in flight. During a silence, one submit at a time is sent.

After slow start, submits are spaced over the time that jobs hold their places, as TCP's pacing does
with packets: a limit of requests per second is not met in bursts, and may be less than one job at a
time. Above ``MOST_QUEUED``, the limit grows only if no polled job is queued at the gateway: more
would only wait there.
"""

from __future__ import annotations

import math

from crucible_batch.core.gateway_types import JobStatus
from crucible_batch.pace.refused_share import RefusedShare
from crucible_batch.pace.request_rate import RequestRate

FIRST_LIMIT = 4
MOST_BY_ITSELF = 256
"""The maximum if no concurrency is configured: ``make bench ONLY=concurrency`` shows the CPU
time."""
MOST_QUEUED = 64
SILENCE = 8  # so many refusals in a row aren't chance
PROBE_S = 1.0  # between two submits to a gateway that refuses all, if it asks for no longer wait
LEAST = 1 / 16  # below 1, there is one job at a time, with pauses
STEP = 1 / 8
_WEIGHT = 1 / 16
_MOST_TOKENS = 8


class ConcurrencyLimit:
    """The limit of one run. Times are seconds of one monotonic clock."""

    def __init__(self, ceiling: int, first: int) -> None:
        self.ceiling = ceiling
        self.limit = float(first)
        self.requests = RequestRate()
        self._starts = True
        self._submits = RefusedShare()
        self._tokens = 0.0
        self._since_queued = 0
        self._streak = 0
        self._last_at = self._fell_at = self._silent_at = self._probe_at = -math.inf
        self._is_asked_to_wait = False
        self._job_s: float | None = None

    @property
    def allowed(self) -> int:
        """The number of jobs that may be active at the same time, at least 1."""
        spare = 0.0
        if not self._starts:
            spare = STEP * (self.limit - 1)  # the spacing keeps to the limit
        most = math.ceil(self.limit + spare - 1e-9)
        return max(1, min(self.ceiling, most))

    @property
    def is_silent(self) -> bool:
        """Whether the gateway has refused all of the latest submits. One at a time is sent then."""
        return self._streak >= SILENCE

    def set_ceiling(self, ceiling: int) -> None:
        """Change the ceiling.

        The limit rises to it immediately, except after a fall: then it grows as before.
        """
        self.ceiling = ceiling
        if self._starts:
            self.limit = float(ceiling)
        else:
            self.limit = min(self.limit, ceiling)

    def next_submit_at(self, now: float, unanswered: int) -> float:
        """Return when the next submit may be sent.

        Infinity means that it may not be sent before an ``unanswered`` one is answered.
        """
        if self.is_silent and unanswered:
            return math.inf
        if self.is_silent:
            return max(now, self._probe_at)
        spread_s = 0.0
        if self._job_s is not None and not self._starts:
            spread_s = self._job_s / ((1 + STEP) * self.limit)
        return max(self.requests.next_at(now), self._last_at + spread_s)

    def submitted(self, now: float) -> None:
        self._last_at = now
        self.requests.sent(now)

    def accepted(self) -> None:
        self._streak = 0
        self._submits.answered(self.limit, is_refused=False)
        self._tokens = min(_MOST_TOKENS, self._tokens + 2 * self.requests.refused_share)
        self._since_queued += 1
        if self.limit < MOST_QUEUED or self._since_queued > self.limit:
            growth = 1.0
            if not self._starts:
                growth = STEP * min(1, STEP * self.limit)
            self.limit = min(self.ceiling, self.limit + growth)

    def refused(self, now: float, sent_at: float, retry_after_s: float, in_flight: int) -> None:
        """Note a 429 or 503 to a submit, with its ``Retry-After``.

        ``in_flight`` jobs are accepted and not ended.
        """
        self._streak += 1
        if self._streak == SILENCE and self.limit > 0.5:  # a lower one was found to be right
            self.limit = float(max(1, min(self.ceiling, in_flight)))
            self._starts, self._submits = True, RefusedShare()
        if self.is_silent:
            self._silent_at = now
            self._probe_at = now + max(PROBE_S, retry_after_s)
            self._is_asked_to_wait = retry_after_s > PROBE_S
            return
        self.requests.submit_refused()
        self._submits.answered(self.limit, is_refused=True)
        if self._starts:
            self.limit = max(1.0, self.limit - 1)
            self._starts = not self._submits.is_more_than_chance
        elif sent_at > self._fell_at and self._tokens >= 1:
            self._tokens -= 1
        elif sent_at > self._fell_at:
            self.limit = max(LEAST, (1 - STEP) * self.limit)
            self._fell_at = self._last_at

    def ended(self, sent_at: float, job_s: float) -> None:
        """Note that a job has left its place, ``job_s`` after its submit was sent."""
        if self._job_s is None:
            self._job_s = job_s
        elif sent_at > self._silent_at:  # others include the time of the silence
            self._job_s += _WEIGHT * (job_s - self._job_s)
        # The gateway has a free place now, unless it asked for a wait.
        if not self._is_asked_to_wait:
            self._streak = min(self._streak, SILENCE - 1)

    def polled(self, status: JobStatus) -> None:
        """Note the status of a job that has not ended."""
        if status is JobStatus.QUEUED:
            self._since_queued = 0


def initial_limit(concurrency: int | None) -> ConcurrencyLimit:
    """Return the limit at the start: ``concurrency``, which is then never exceeded.

    With None, the limit starts low and adapts.
    """
    if concurrency is None:
        return ConcurrencyLimit(MOST_BY_ITSELF, FIRST_LIMIT)
    return ConcurrencyLimit(concurrency, concurrency)
