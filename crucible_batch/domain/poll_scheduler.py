"""The poll scheduler: which job to poll next, and when. Pure: events and times are passed in.

    condition                            when a job is polled
    running                              when it has probably ended (its hazard since the last poll has reached DUE)
    many jobs are due, the rate is used  the job that has most likely ended first; every job is polled eventually
    must still be queued                 not at all, except for an occasional probe whether it really is queued
    nothing is known of its workflow     at ages that double, from 50 ms on
    its timeout is reached               once more

The polls of all jobs together keep to a rate: one per job in flight in ``_ROUND`` of the time that a job takes, or in
about five seconds (the interval of the public guides) if that is shorter. Two polls of one job are at least 50 ms
apart.
"""

from __future__ import annotations

import math
from typing import assert_never

from crucible_batch.domain.gateway_types import JobStatus
from crucible_batch.domain.in_flight_queue import DISTRUST, FAINT, InFlightJob, InFlightQueue
from crucible_batch.domain.service_times import ServiceTimes

SHORTEST_S = 0.05
LONGEST_S = 5.1
"""A little more than the public guides' five seconds: no job in flight needs more polls than in their loop."""
DUE = 0.2
"""A poll is due when the job has ended with about this probability. Earlier polls would most likely be wasted."""
_PILOTS = 4
"""The number of jobs of a workflow that are polled earlier than its own estimate suggests, which may be wrong."""
_PAUSE = 0.025
"""The minimum time between two polls of a job, as a share of its age: a job that hangs for hours is polled rarely."""
_ROUNDS_UNSEEN = 3.0
"""The maximum time between two polls of a job, in rounds: one round is one poll of each job. Applies in any state."""
_UNSEEN_WEIGHT = 0.05
"""The increase of a job's urgency, a probability, per round without a poll: after twenty rounds it is polled first."""
_RAREST_PROBE = 32.0
"""If probes yield nothing new, one poll in this many is a probe."""
_GOLDEN = 0.6180339887498949
"""Steps of this share of the queue reach every part of it, whatever its length."""
_SAVED = 2.0
"""The number of unused polls that are saved up, so that a single job isn't polled late because of the rate. At the cap
only ``SHORTEST_S`` is saved up, to make up for timers, whose resolution is a few milliseconds."""
_TYPICAL_WEIGHT = 0.1
_ROUND = 0.7
"""The share of the time from acceptance to end in which each job is polled once, on average."""
_DUE_HAZARD = -math.log1p(-DUE)
_EPSILON_S = 1e-6
"""The tolerance for comparing times, which may differ by rounding."""


class PollScheduler:
    """The schedule of polls for all awaited jobs. ``polls_per_s`` caps the rate; None: it depends on the jobs only."""

    def __init__(self, times: ServiceTimes, polls_per_s: float | None = None) -> None:
        self._times = times
        self._cap = math.inf if polls_per_s is None else polls_per_s
        self._line = InFlightQueue()
        self._next_at = -math.inf
        self._probe_at = -math.inf
        self._probe_pause = 1.0
        self._probes = 0
        self._typical_s: float | None = None
        self._first_at: float | None = None

    def __len__(self) -> int:
        return len(self._line)

    @property
    def runners(self) -> float | None:
        """The number of jobs that run at once; None if it isn't known that fewer run than are in flight."""
        line = self._line
        if not line.has_queued or line.doubt >= DISTRUST or line.runners.is_vague:
            return None
        return line.runners.mean

    @property
    def unseen(self) -> float:
        """The expected number of jobs that have ended but were not yet polled since."""
        return self._line.unseen

    def opened(self, workflow_id: str, now: float, *, timeout_s: float, look_at_once: bool = False) -> int:
        """Add a job that was accepted, and return its ticket.

        ``look_at_once`` is for a job that was accepted some time ago: it is due now, has no place in the queue, and the
        service times don't learn from it.
        """
        running, waiting = self._times.of(workflow_id), self._times.since_accepted(workflow_id)
        running.begun += 1
        if self._first_at is None:
            self._first_at, self._typical_s = now, running.expected_s
        place = InFlightJob(running, waiting, now, now + timeout_s)
        if look_at_once:
            place.due_at = now
        return self._line.enter(place, in_line=not look_at_once)

    def take(self, now: float) -> int | None:
        """Return the ticket of a job to poll now; None if no job is due or the rate doesn't allow a poll.

        The caller must report the result by ``saw``, or call ``closed``.
        """
        if self._next_at > now + _EPSILON_S:
            return None
        self._line.advance(now)
        found = (self._probe(now) if len(self._line) > 1 else None) or self._choose(now)
        if found is None:
            return None
        ticket, place = found
        place.is_looked_at = True
        rate = self.polls_per_s(now)
        saved_s = SHORTEST_S if rate >= self._cap else max(SHORTEST_S, _SAVED / rate)
        self._next_at = max(self._next_at, now - saved_s) + 1 / rate
        return ticket

    def reserve(self, now: float) -> float:
        """Reserve a poll that isn't scheduled here, and return the time at which the cap allows it."""
        if self._cap == math.inf:
            return now
        at = max(now, self._next_at)
        self._next_at = at + 1 / self._cap
        return at

    def next_at(self, now: float) -> float:
        """Return when to call ``take`` again; infinity if no poll is due before a further event."""
        self._line.advance(now)
        at = math.inf
        for _, place in self._line:  # inlined, since it runs at each poll for all jobs
            if not place.is_looked_at:
                due_at = self._due_at(place, now) if place.due_at is None else place.due_at
                at = min(at, due_at)
        if len(self._line) > 1:
            at = min(at, self._probe_at)
        return max(at, self._next_at)

    def saw(self, ticket: int, status: JobStatus, now: float) -> None:
        """Record the result of a poll. A job that has ended is removed; calling ``closed`` for it is optional."""
        place = self._line[ticket]
        runners = self._line.runners.mean
        match status:
            case JobStatus.QUEUED:
                self._line.saw_queued(place, now)
                self._survived(place, now)
            case JobStatus.RUNNING:
                self._line.saw_begun(place, now)
                self._survived(place, now)
            case JobStatus.SUCCEEDED | JobStatus.FAILED:
                self._line.saw_begun(place, now)
                self._ended(place, now)
                self._line.leave(ticket)
            case JobStatus.UNKNOWN:
                self._survived(place, now)
            case _:
                assert_never(status)
        if abs(self._line.runners.mean - runners) > 1:
            self._probe_pause, self._probe_at = 1.0, now

    def closed(self, ticket: int) -> None:
        """Remove a job that is no longer awaited. May be called for one that was removed already."""
        if ticket in self._line:
            self._line.leave(ticket)

    def polls_per_s(self, now: float) -> float:
        """Return the rate of polls of all jobs together."""
        return min(max(len(self._line), 1) / self._round_s(now), self._cap)

    def _round_s(self, now: float) -> float:
        """Return the time in seconds in which each job in flight may be polled once."""
        since = now if self._first_at is None else self._first_at
        typical_s = now - since if self._typical_s is None else self._typical_s
        return min(max(typical_s * _ROUND, SHORTEST_S), LONGEST_S)

    # -- which job --------------------------------------------------------------------------------------------------

    def _probe(self, now: float) -> tuple[int, InFlightJob] | None:
        """Return a job to probe: alternately at the boundary between running and queued jobs, and anywhere.

        Probes become rarer as long as they yield nothing new.
        """
        if self._probe_at > now + _EPSILON_S:
            return None
        self._probe_at = now + max(self._probe_pause / self.polls_per_s(now), SHORTEST_S)
        self._probe_pause = min(2 * self._probe_pause, _RAREST_PROBE)
        self._probes += 1
        if self._probes % 2 and self._line.doubt < DISTRUST:
            return self._ready(self._line.edge(), now)
        return self._ready(self._line.sample(self._probes * _GOLDEN % 1), now)

    def _choose(self, now: float) -> tuple[int, InFlightJob] | None:
        soon = now + _EPSILON_S
        due = [
            (ticket, place)
            for ticket, place in self._line
            if not place.is_looked_at and (self._due_at(place, now) if place.due_at is None else place.due_at) <= soon
        ]
        if len(due) < 2:
            return due[0] if due else None
        rounds_per_s = self.polls_per_s(now) / len(self._line)
        return max(due, key=lambda found: self._urgency(found[1], now, rounds_per_s))

    def _ready(self, found: tuple[int, InFlightJob] | None, now: float) -> tuple[int, InFlightJob] | None:
        if found is None or found[1].is_looked_at or found[1].looked_at + SHORTEST_S > now + _EPSILON_S:
            return None
        return found

    def _urgency(self, place: InFlightJob, now: float, rounds_per_s: float) -> float:
        if not place.in_line and place.looked_at == place.opened_at:
            return 1.0
        rounds = (now - place.looked_at) * rounds_per_s
        return place.may_have_ended(now, self._line.doubt) + _UNSEEN_WEIGHT * max(rounds - 1, 0.0)

    # -- when -------------------------------------------------------------------------------------------------------

    def _due_at(self, place: InFlightJob, now: float) -> float:
        if place.due_at is None:
            latest = place.looked_at + _ROUNDS_UNSEEN * len(self._line) / self.polls_per_s(now)
            since = place.opened_at if place.began_at is None else place.began_at
            pause_s = min(max((place.looked_at - since) * _PAUSE, SHORTEST_S), LONGEST_S)
            due_at = max(min(self._likely_at(place), latest), place.looked_at + pause_s)
            place.due_at = min(due_at, max(place.until, place.looked_at + SHORTEST_S))
        return place.due_at

    def _likely_at(self, place: InFlightJob) -> float:
        """Return the time at which the job has ended with a probability of ``DUE``."""
        running, doubt = place.running, self._line.doubt
        if running.seen == 0 and (running.expected_s is None or running.begun <= _PILOTS):
            return 2 * place.looked_at - place.opened_at
        at = math.inf
        if place.began_at is not None:
            at = place.began_at + running.age_after(place.age(place.looked_at), _DUE_HAZARD)
        if doubt > FAINT and not place.seen_running:
            age_s = place.waiting.age_after(place.looked_at - place.opened_at, _DUE_HAZARD / doubt)
            at = min(at, place.opened_at + age_s)
        return at

    # -- results ----------------------------------------------------------------------------------------------------

    def _survived(self, place: InFlightJob, now: float) -> None:
        if place.in_line:
            place.running.survived(place.age(place.looked_at), place.age(now))
            place.waiting.survived(place.looked_at - place.opened_at, now - place.opened_at)
        place.is_looked_at, place.looked_at, place.due_at = False, now, None

    def _ended(self, place: InFlightJob, now: float) -> None:
        if not place.in_line:
            return
        place.running.ended(place.age(place.looked_at), place.age(now))
        place.waiting.ended(place.looked_at - place.opened_at, now - place.opened_at)
        middle = (place.looked_at + now) / 2 - place.opened_at
        known = middle if self._typical_s is None else self._typical_s
        self._typical_s = known + _TYPICAL_WEIGHT * (middle - known)
