"""The queue of jobs in flight, in submit order: which may be running, and when each is due for a poll.

A gateway that runs jobs in submit order runs the first few and queues the rest. So the jobs behind a queued one are
queued too, and each end lets the next one begin. While answers contradict that order, only a job's own answers count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from crucible_batch.domain.service_times import ServiceTime

SHORTEST_S = 0.05  # the minimum time between two polls of a job, unless it is a sample
LONGEST_S = 5.1  # slightly more than the five seconds of the public guides, so that no more polls are needed
_LONGEST_UNPOLLED_S = 30.0  # a job that may be running is due then, whatever its typical service time
_FIRST_POLL = 0.8  # the age of the first poll, as a share of the typical service time
_PAUSE = 0.025  # the time between later polls, as a share of the age
_MARGIN = 4  # the order is uncertain by so many jobs: submits overtake each other, and ends are seen late
_DISTRUST = 16  # the order isn't used after a contradiction until so many answers "queued" in a row agree with it


@dataclass(slots=True, eq=False)
class InFlightJob:
    """A job that is awaited. All times are in seconds, of the same monotonic clock.

    ``number`` is its position in submit order, -1 for a job of an earlier run. At ``until``, its timeout, it is polled
    in any case. ``alive_at`` is the last time at which it is known not to have ended, ``begun_at`` the earliest at
    which it may have begun to run: infinity while it must be queued. ``is_polled``: a poll of it is under way.
    """

    number: int
    service: ServiceTime
    accepted_at: float
    until: float
    alive_at: float = field(init=False)
    begun_at: float = field(init=False)
    due_at: float = field(init=False)
    is_polled: bool = False

    def begin(self, now: float, *, may_run: bool = True) -> None:
        """Set that it had not begun before ``now``, and whether it may have since."""
        self.alive_at, self.begun_at = now, now if may_run else math.inf
        self.reschedule()

    def reschedule(self) -> None:
        """Set when it is due for a poll, after a change."""
        if self.begun_at == math.inf:
            due_at = math.inf
        elif self.service.typical_s is None:  # at ages that double
            due_at = self.alive_at + min(self.alive_at - self.accepted_at, LONGEST_S)
        else:
            first_at = self.begun_at + self.service.typical_s * _FIRST_POLL
            pause_s = min((self.alive_at - self.begun_at) * _PAUSE, LONGEST_S)
            due_at = min(max(first_at, self.alive_at + pause_s), self.alive_at + _LONGEST_UNPOLLED_S)
        self.due_at = max(min(due_at, self.until), self.alive_at + SHORTEST_S)


class InFlightQueue:
    """The jobs in flight, by ticket."""

    def __init__(self) -> None:
        self.jobs: dict[int, InFlightJob] = {}
        self._tickets = 0
        self._front = math.inf  # the number of the first job that has not begun; infinity if none was found queued
        self._last_begun = -1
        self._distrust = 0

    def add(self, service: ServiceTime, now: float, until: float, *, is_earlier: bool) -> int:
        """Add a job and return its ticket. ``is_earlier``: it is of an earlier run, and due immediately."""
        ticket, self._tickets = self._tickets, self._tickets + 1
        job = self.jobs[ticket] = InFlightJob(-1 if is_earlier else ticket, service, now, until)
        job.begin(now, may_run=self._may_run(job))
        if is_earlier:
            job.due_at = now
        return ticket

    def record_queued(self, job: InFlightJob, now: float) -> None:
        """Record that a job is queued, and so are those behind it, unless that contradicts earlier answers."""
        job.begin(now)
        if job.number < 0:
            return
        is_overtaken = job.number < self._last_begun - _MARGIN
        self._distrust = _DISTRUST if is_overtaken else max(self._distrust - 1, 0)
        if self._distrust == 0:
            self._front = job.number
            for other in self.jobs.values():
                if other.number > max(job.number, self._last_begun):
                    other.begin(now, may_run=self._may_run(other))
        self._release(now)

    def record_begun(self, job: InFlightJob, now: float, *, has_ended: bool) -> None:
        """Record that a job is running or has ended. Those before it have begun too; after an end, so has the next."""
        self._last_begun = max(self._last_begun, job.number)
        self._front = max(self._front, job.number + 1) + has_ended
        self._release(now)

    def _may_run(self, job: InFlightJob) -> bool:
        return self._distrust > 0 or job.number < self._front + _MARGIN

    def _release(self, now: float) -> None:
        for job in self.jobs.values():
            if job.begun_at == math.inf and self._may_run(job):
                job.begin(now)
