"""Which job to look at, and when: pure, told what happens and at what time.

    a job in line is looked at when      it has likely ended (the hazard of its age since the last look is up to DUE)
    many are due, few looks are left     the one most likely ended first, and none is left out for ever
    a job must still be queued           not at all, but for a probe now and then that says whether it really is
    nothing is known of a workflow       at ages that double, from 50 ms on
    its timeout has come                 it is looked at once more

The looks of all jobs together keep to a rate: one each for every job in flight in the time that a job takes, which is
never taken for more than the five seconds of the public guides. No job waits at less than 50 ms from one look to the
next.
"""

from __future__ import annotations

import math
from typing import assert_never

from crucible_batch.domain.gateway_types import JobStatus
from crucible_batch.domain.in_flight_queue import DISTRUST, FAINT, InFlightJob, InFlightQueue
from crucible_batch.domain.service_times import ServiceTimes

SHORTEST_S = 0.05
LONGEST_S = 5.1
"""A little more than the public guides' five seconds: no job in flight costs more looks than in their loop."""
DUE = 0.2
"""A look is due when the job has ended with about this probability; before, it would most likely be for nothing."""
_PILOTS = 4
"""So many jobs of a workflow are looked at early although its estimate says that they aren't done: it may be off."""
_PAUSE = 0.025
"""No look follows another in less than this share of a job's age: one that hangs for hours is no matter of seconds."""
_ROUNDS_UNSEEN = 3.0
"""No open job goes unseen for longer than it takes to look so often at each, whatever the line makes of it."""
_UNSEEN_WEIGHT = 0.05
"""What one round unseen adds to a job's probability of having ended: after twenty it goes first."""
_RAREST_PROBE = 32.0
"""One look in so many is a probe, where probes tell nothing new."""
_GOLDEN = 0.6180339887498949
"""Steps of this share of the line come everywhere, whatever its length."""
_SAVED = 2.0
"""So many looks that weren't needed are saved up, so that a lone job isn't seen late for want of one. A cap saves no
more than what timers lose, which are no finer than a few milliseconds."""
_TYPICAL_WEIGHT = 0.1
_ROUND = 0.7
"""In which share of the time from acceptance to end each job has one look on the average."""
_DUE_HAZARD = -math.log1p(-DUE)
_EPSILON_S = 1e-6
"""Two sums that mean the same moment may differ by their rounding."""


class PollScheduler:
    """All jobs that are waited for. ``polls_per_s`` caps what the jobs in flight would allow; None: they alone do."""

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
        """How many jobs run at once; None where nothing shows that fewer run than are in flight."""
        line = self._line
        if not line.has_queued or line.doubt >= DISTRUST or line.runners.is_vague:
            return None
        return line.runners.mean

    @property
    def unseen(self) -> float:
        """How many jobs are likely to have ended that no look has seen yet."""
        return self._line.unseen

    def opened(self, workflow_id: str, now: float, *, timeout_s: float, look_at_once: bool = False) -> int:
        """Take in that a job was accepted; return the ticket that it is known by here.

        ``look_at_once`` is for one that was accepted some time ago: it has no place in the line, and teaches nothing.
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
        """Return the ticket of a job to be looked at now, None where there is none or the rate doesn't allow it.

        Whoever takes it says what was seen by ``saw``, or ``closed``.
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
        """Count a look that isn't part of waiting for an end, and return when it may be made, by the same cap."""
        if self._cap == math.inf:
            return now
        at = max(now, self._next_at)
        self._next_at = at + 1 / self._cap
        return at

    def next_at(self, now: float) -> float:
        """Return when ``take`` is to be asked again; infinity where only news can bring a look."""
        self._line.advance(now)
        at = math.inf
        for _, place in self._line:  # written out, since it is run for each look and over all jobs
            if not place.is_looked_at:
                due_at = self._due_at(place, now) if place.due_at is None else place.due_at
                at = min(at, due_at)
        if len(self._line) > 1:
            at = min(at, self._probe_at)
        return max(at, self._next_at)

    def saw(self, ticket: int, status: JobStatus, now: float) -> None:
        """Take in what a look found. A job that has ended is out of the line; ``closed`` may follow or not."""
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
        """Nobody waits for the job any more. May be called for one that has ended."""
        if ticket in self._line:
            self._line.leave(ticket)

    def polls_per_s(self, now: float) -> float:
        """Return the rate that the looks of all jobs keep to."""
        return min(max(len(self._line), 1) / self._round_s(now), self._cap)

    def _round_s(self, now: float) -> float:
        """In what time each job in flight may be looked at once."""
        since = now if self._first_at is None else self._first_at
        typical_s = now - since if self._typical_s is None else self._typical_s
        return min(max(typical_s * _ROUND, SHORTEST_S), LONGEST_S)

    # -- which job --------------------------------------------------------------------------------------------------

    def _probe(self, now: float) -> tuple[int, InFlightJob] | None:
        """Look where running turns into queued, and in turn anywhere: the more rarely, the less it teaches."""
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
        """Return when it has ended with a probability of ``DUE``."""
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

    # -- what was seen ----------------------------------------------------------------------------------------------

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
