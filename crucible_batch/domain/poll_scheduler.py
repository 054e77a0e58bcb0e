"""The poll scheduler: which job to poll next, and when. Pure: events and times are passed in.

    condition                         when a job is polled
    may be running                    from 0.8 of its workflow's typical service time on, at growing intervals
    several jobs are due              first the one that is longest known not to have ended
    must still be queued              not at all, but every eighth poll is of a job anywhere in the queue
    nothing is known of its workflow  at ages that double, from 50 ms on
    its timeout is reached            once more

All polls together keep to a rate: one per job in flight in 0.7 of the time that jobs take, or in about five seconds if
that is shorter (the interval of the public guides).
"""

from __future__ import annotations

import math

from crucible_batch.domain.gateway_types import JobStatus
from crucible_batch.domain.in_flight_queue import LONGEST_S, SHORTEST_S, InFlightQueue
from crucible_batch.domain.request_rate import RequestRate
from crucible_batch.domain.service_times import ServiceTime, ServiceTimes

_SAMPLE_EVERY = 8
_GOLDEN = 0.6180339887498949  # steps of this share of the queue reach every part of it, whatever its length
_ROUND = 0.7
_SAVED = 2.0
"""So many unused polls are saved up, for single jobs. At the cap it is ``SHORTEST_S``, since timers are late."""


class PollScheduler:
    """The schedule of polls for all awaited jobs. ``polls_per_s`` caps the rate; None: it depends on the jobs only.

    ``requests`` spaces polls and submits together.
    """

    def __init__(
        self, times: ServiceTimes, polls_per_s: float | None = None, requests: RequestRate | None = None
    ) -> None:
        self._times = times
        self._turnaround = ServiceTime()  # from acceptance to end, of all workflows together
        self._cap = math.inf if polls_per_s is None else polls_per_s
        self._requests = requests or RequestRate()
        self._queue = InFlightQueue()
        self._jobs = self._queue.jobs
        self._next_at = self._sample_at = -math.inf
        self._samples = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, workflow_id: str, now: float, *, timeout_s: float, is_due_now: bool = False) -> int:
        """Add an accepted job and return its ticket. ``is_due_now``: it is due now; nothing is learned from it."""
        service = ServiceTime() if is_due_now else self._times.of(workflow_id)
        return self._queue.add(service, now, now + timeout_s, is_earlier=is_due_now)

    def take(self, now: float) -> int | None:
        """Return the ticket of a job to poll now, for ``record`` or ``remove``; None if none is due or allowed."""
        if self._next_at > now or self._requests.next_at(now) > now:
            return None
        ticket = self._sample(now)
        if ticket is None:
            due = [ticket for ticket, job in self._jobs.items() if job.due_at <= now and not job.is_polled]
            ticket = min(due, key=lambda ticket: self._jobs[ticket].alive_at, default=None)
        if ticket is not None:
            self._jobs[ticket].is_polled = True
            self._requests.sent(now)
            rate = self.polls_per_s(now)
            saved_s = SHORTEST_S if rate >= self._cap else max(SHORTEST_S, _SAVED / rate)
            self._next_at = max(self._next_at, now - saved_s) + 1 / rate
        return ticket

    def reserve(self, now: float) -> float:
        """Reserve a poll that isn't scheduled here, and return the time at which cap and rate of requests allow it."""
        at = self._requests.next_at(now)
        if self._cap < math.inf:
            at = max(at, self._next_at)
            self._next_at = at + 1 / self._cap
        self._requests.sent(at)
        return at

    def next_at(self, now: float) -> float:
        """Return when to call ``take`` again; infinity if no poll is due before a further event."""
        at = min((job.due_at for job in self._jobs.values() if not job.is_polled), default=math.inf)
        at = min(at, self._sample_at) if self._has_samples else at
        return max(at, self._next_at, self._requests.next_at(now))

    def record(self, ticket: int, status: JobStatus, now: float) -> None:
        """Record the result of a poll. A job that has ended is removed; calling ``remove`` for it is optional."""
        job = self._jobs[ticket]
        has_ended = status in {JobStatus.SUCCEEDED, JobStatus.FAILED}
        if has_ended:
            self.remove(ticket)
            if job.number >= 0 and job.begun_at < math.inf:
                job.service.record(job.alive_at - job.begun_at, now - job.begun_at)
                self._turnaround.record(job.alive_at - job.accepted_at, now - job.accepted_at)
        job.is_polled, job.alive_at = False, now
        if status is JobStatus.QUEUED:
            self._queue.record_queued(job, now)
        elif status is not JobStatus.UNKNOWN:
            self._queue.record_begun(job, now, has_ended=has_ended)
        job.reschedule()

    def remove(self, ticket: int) -> None:
        """Remove a job that is no longer awaited. May be called for one that was removed already."""
        self._jobs.pop(ticket, None)

    def polls_per_s(self, now: float) -> float:
        """Return the rate of polls of all jobs together."""
        time_s = self._turnaround.typical_s
        if time_s is None:
            time_s = max((now - job.accepted_at for job in self._jobs.values()), default=0.0)
        return min(max(len(self), 1) / min(max(_ROUND * time_s, SHORTEST_S), LONGEST_S), self._cap)

    @property
    def _has_samples(self) -> bool:
        """Whether any poll is a sample: of several jobs, or of one whose predecessors are gone without an answer."""
        return len(self) > 1 or any(job.begun_at == math.inf for job in self._jobs.values())

    def _sample(self, now: float) -> int | None:
        """Return a job anywhere in the queue, now and then: it may show that the order isn't what it seems."""
        if not self._has_samples or self._sample_at > now:
            return None
        self._sample_at = now + max(_SAMPLE_EVERY / self.polls_per_s(now), SHORTEST_S)
        self._samples += 1
        ticket, job = list(self._jobs.items())[int(len(self) * (self._samples * _GOLDEN % 1))]
        return None if job.is_polled or job.accepted_at + SHORTEST_S > now else ticket
