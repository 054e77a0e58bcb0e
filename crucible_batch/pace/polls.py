"""Which job to poll next, and when.

    condition                         when a job is polled
    may be running                    from 0.8 of its workflow's typical service time on,
                                      at growing intervals
    several jobs are due              first the one that is longest known not to have ended
    must still be queued              not at all, but every eighth poll is of a job anywhere
                                      in the queue
    nothing is known of its workflow  at ages that double, from 50 ms on
    its timeout is reached            once more

All polls together keep to a rate: one per job in flight in 0.7 of the time that jobs take, or in
about five seconds if that is shorter (the interval of the public guides). A gateway that runs jobs
in submit order queues all jobs behind a queued one, and each end lets the next one begin. While
answers contradict that order, any job may be running.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from crucible_batch.core.gateway_types import JobStatus
from crucible_batch.pace.request_rate import TIMER_S, RequestRate

_SHORTEST_S = 0.05  # the minimum time between two polls of a job, unless it is a sample
# Slightly more than the five seconds of the public guides, so that no more polls are needed
_LONGEST_S = 5.1
# A job that may be running is due then, whatever its typical service time
_LONGEST_UNPOLLED_S = 30.0
_FIRST_POLL = 0.8  # the age of the first poll, as a share of the typical service time
_PAUSE = 0.025  # the time between later polls, as a share of the age
# The order is uncertain by so many jobs: submits overtake each other, and ends are seen late
_MARGIN = 4
# The order isn't used after a contradiction until so many answers "queued" in a row agree with it
_DISTRUST = 16
_SAMPLE_EVERY = 8
# Steps of this share of the queue reach every part of it, whatever its length
_GOLDEN = 0.6180339887498949
_ROUND = 0.7
# The least weight of one job: a change of speed is learned within about as many jobs
_WEIGHT = 1 / 64


class ServiceTime:
    """How long jobs typically run: a mean, in which recent jobs weigh more once there are many."""

    def __init__(self, expected_s: float | None = None) -> None:
        """Start from half of a workflow's own estimate, if any.

        Polling late costs more than a few polls.
        """
        self.typical_s: float | None = None
        self._jobs = 0
        if expected_s is not None:
            self.typical_s = expected_s / 2
            self._jobs = 1

    def record(self, shortest_s: float, longest_s: float) -> None:
        """Record that a job took a time between these two.

        A poll shows only that it has ended since the previous poll.
        """
        known_s = self.typical_s or 0.0
        self._jobs += 1
        weight = max(1 / self._jobs, _WEIGHT)
        self.typical_s = known_s + weight * ((shortest_s + longest_s) / 2 - known_s)


class ServiceTimes:
    """The service times of all workflows."""

    def __init__(self) -> None:
        self._times: dict[str, ServiceTime] = {}

    def announce(self, workflow_id: str, expected_s: float | None) -> None:
        """Set a workflow's own estimate, before its first job.

        One that isn't positive is ignored.
        """
        if expected_s is not None and expected_s > 0:
            self._times.setdefault(workflow_id, ServiceTime(expected_s))

    def of(self, workflow_id: str) -> ServiceTime:
        return self._times.setdefault(workflow_id, ServiceTime())


@dataclass(slots=True, eq=False)
class _Job:
    """A job that is awaited. All times are in seconds, of the same monotonic clock."""

    number: int  # its position in submit order, -1 for a job of an earlier run
    service: ServiceTime
    accepted_at: float
    until: float  # its timeout
    alive_at: float  # the last time at which it is known not to have ended
    # The earliest at which it may have begun to run; infinity while it must be queued
    begun_at: float = math.inf
    due_at: float = math.inf
    is_polled: bool = False

    def reschedule(self) -> None:
        """Set when the job is polled next, from what is known of it."""
        if self.begun_at == math.inf:
            due_at = math.inf
        elif self.service.typical_s is None:
            due_at = self.alive_at + min(self.alive_at - self.accepted_at, _LONGEST_S)
        else:
            pause_s = min(_PAUSE * (self.alive_at - self.begun_at), _LONGEST_S)
            first_at = self.begun_at + _FIRST_POLL * self.service.typical_s
            due_at = max(first_at, self.alive_at + pause_s)
            due_at = min(due_at, self.alive_at + _LONGEST_UNPOLLED_S)
        self.due_at = max(min(due_at, self.until), self.alive_at + _SHORTEST_S)


class PollScheduler:
    """The schedule of polls for all awaited jobs.

    ``polls_per_s`` caps their rate, and ``requests`` that of all.
    """

    def __init__(
        self,
        times: ServiceTimes,
        polls_per_s: float | None = None,
        requests: RequestRate | None = None,
    ) -> None:
        self._times = times
        self._turnaround = ServiceTime()  # from acceptance to end, of all workflows together
        self._cap = polls_per_s if polls_per_s is not None else math.inf
        self._requests = requests or RequestRate()
        self._jobs: dict[int, _Job] = {}
        self._tickets = self._samples = 0
        self._next_at = self._sample_at = -math.inf
        # The number of the first job that has not begun; infinity if none was found queued
        self._front = math.inf
        self._last_begun = -1
        self._distrust = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def add(
        self, workflow_id: str, now: float, *, timeout_s: float, is_due_now: bool = False
    ) -> int:
        """Add an accepted job and return its ticket.

        ``is_due_now``: it is due now; nothing is learned from it.
        """
        ticket = self._tickets
        self._tickets += 1
        number, service = -1, ServiceTime()
        if not is_due_now:
            number, service = ticket, self._times.of(workflow_id)
        job = self._jobs[ticket] = _Job(number, service, now, now + timeout_s, now)
        job.reschedule()
        self._let_begin(now)
        if is_due_now:
            job.due_at = now
        return ticket

    def take(self, now: float) -> int | None:
        """Return the ticket of a job to poll now, None if no poll is due or allowed.

        The ticket is for ``record`` or ``remove``.
        """
        if self._next_at > now or self._requests.next_at(now) > now:
            return None
        ticket = self._sample(now)
        if ticket is None:
            due = [
                ticket
                for ticket, job in self._jobs.items()
                if job.due_at <= now and not job.is_polled
            ]
            ticket = min(due, key=lambda ticket: self._jobs[ticket].alive_at, default=None)
        if ticket is not None:
            self._jobs[ticket].is_polled = True
            self._requests.sent(now)
            rate = self.polls_per_s(now)
            saved_s = TIMER_S
            if rate < self._cap:
                saved_s = max(TIMER_S, 2 / rate)  # two unused polls, for single jobs
            self._next_at = max(self._next_at, now - saved_s) + 1 / rate
        return ticket

    def reserve(self, now: float) -> float:
        """Reserve a poll that isn't scheduled here.

        Returns the time at which the cap and the rate of requests allow it.
        """
        at = self._requests.next_at(now)
        if self._cap < math.inf:
            at = max(at, self._next_at)
            self._next_at = at + 1 / self._cap
        self._requests.sent(at)
        return at

    def next_at(self, now: float) -> float:
        """Return when to call ``take`` again; infinity if no poll is due before a further event."""
        at = min((job.due_at for job in self._jobs.values() if not job.is_polled), default=math.inf)
        return max(min(at, self._next_sample_at), self._next_at, self._requests.next_at(now))

    def record(self, ticket: int, status: JobStatus, now: float) -> None:
        """Record the result of a poll. A job that has ended is removed."""
        job = self._jobs[ticket]
        has_ended = status in {JobStatus.SUCCEEDED, JobStatus.FAILED}
        if has_ended:
            self.remove(ticket)
            if job.number >= 0 and job.begun_at < math.inf:
                job.service.record(job.alive_at - job.begun_at, now - job.begun_at)
                self._turnaround.record(job.alive_at - job.accepted_at, now - job.accepted_at)
        job.is_polled, job.alive_at = False, now
        if status is JobStatus.QUEUED:
            self._record_queued(job, now)
        elif status is not JobStatus.UNKNOWN:
            # Those before it have begun too, and after an end, so has the next one.
            self._last_begun = max(self._last_begun, job.number)
            self._front = max(self._front, job.number + 1) + has_ended
        self._let_begin(now)
        job.reschedule()

    def remove(self, ticket: int) -> None:
        """Remove a job that is no longer awaited.

        May be called for one that was removed already.
        """
        self._jobs.pop(ticket, None)

    def polls_per_s(self, now: float) -> float:
        """Return the rate of polls of all jobs together."""
        time_s = self._turnaround.typical_s
        if time_s is None:
            time_s = max((now - job.accepted_at for job in self._jobs.values()), default=0.0)
        round_s = min(max(_ROUND * time_s, _SHORTEST_S), _LONGEST_S)
        return min(max(len(self), 1) / round_s, self._cap)

    def _record_queued(self, job: _Job, now: float) -> None:
        job.begun_at = now
        if job.number < 0:
            return
        if job.number < self._last_begun - _MARGIN:
            self._distrust = _DISTRUST
        else:
            self._distrust = max(self._distrust - 1, 0)
        if self._distrust:
            return
        self._front = job.number
        for other in self._jobs.values():
            if other.number > max(job.number, self._last_begun):
                other.alive_at, other.begun_at = now, math.inf
                other.reschedule()

    def _let_begin(self, now: float) -> None:
        for job in self._jobs.values():
            if job.begun_at < math.inf:
                continue
            if self._distrust or job.number < self._front + _MARGIN:
                job.alive_at = job.begun_at = now
                job.reschedule()

    @property
    def _next_sample_at(self) -> float:
        if len(self) > 1 or any(job.begun_at == math.inf for job in self._jobs.values()):
            return self._sample_at
        return math.inf

    def _sample(self, now: float) -> int | None:
        """Return a job anywhere in the queue, now and then; None if it isn't time for one.

        Its poll may show that the order isn't what it seems.
        """
        if self._next_sample_at > now:
            return None
        self._sample_at = now + max(_SAMPLE_EVERY / self.polls_per_s(now), _SHORTEST_S)
        self._samples += 1
        place = int(len(self) * (self._samples * _GOLDEN % 1))
        ticket, job = list(self._jobs.items())[place]
        if job.is_polled or job.accepted_at + _SHORTEST_S > now:
            return None
        return ticket
