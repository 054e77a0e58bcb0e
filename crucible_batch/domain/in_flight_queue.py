"""The queue of jobs in flight: open jobs in submit order, and which have probably begun to run or ended by now.

A gateway that runs jobs in submit order runs the first few and queues the rest. So a job far behind must still be
queued, and the age of a job counts from when its position was reached. If an answer contradicts that (a job runs while
an earlier one is queued), ``doubt`` grows. With more doubt, more weight is given to the time that jobs took since they
were accepted, which is valid in any order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from crucible_batch.domain.service_times import Hazards, RunnerCount

_OVERTAKING = 4
"""Jobs submitted at the same time may arrive in another order: differences of up to so many positions are ignored."""
_DOUBT_GROWS = 0.15
_DOUBT_FADES = 0.95
FAINT = 0.02
"""Less doubt than this is ignored."""
DISTRUST = 0.3
"""With this much doubt or more, nothing is concluded from a job about its neighbours."""
_COUNT_PER_JOB_S = 1e-4
"""The minimum time between two counts, per job: counting then takes a hundredth of the time for any number of jobs."""


@dataclass(slots=True, eq=False)
class InFlightJob:
    """One open job. All times are in seconds, of the same monotonic clock."""

    running: Hazards
    waiting: Hazards
    opened_at: float
    until: float
    """The time of its timeout, at which it is polled in any case."""
    number: int = -1
    """The number in submit order, from 0; -1 for a job submitted before this run, whose position isn't known."""
    looked_at: float = field(init=False)
    """When a poll last found that it had not ended."""
    queued_at: float = field(init=False)
    """The time until which it is known not to have run."""
    began_at: float | None = field(init=False)
    """The estimated time at which it began to run; None while it is assumed to be queued."""
    due_at: float | None = None
    """When it is to be polled; None if that must be recomputed."""
    seen_running: bool = False
    is_looked_at: bool = False

    def __post_init__(self) -> None:
        self.looked_at = self.queued_at = self.began_at = self.opened_at

    @property
    def in_line(self) -> bool:
        return self.number >= 0

    def begin(self, at: float | None) -> None:
        """Set when it began to run; None: it has not begun."""
        self.began_at, self.due_at = at, None

    def age(self, at: float) -> float:
        """Return for how many seconds it has run at the time ``at``; 0 if it has not begun."""
        return 0.0 if self.began_at is None else max(at - self.began_at, 0.0)

    def may_have_ended(self, now: float, doubt: float) -> float:
        """Return the probability that it has ended since the last poll, at the given doubt about the order."""
        in_turn = 0.0
        if self.began_at is not None:
            in_turn = self.running.done(self.age(self.looked_at), self.age(now))
        if doubt < FAINT or self.seen_running:
            return in_turn
        anyhow = self.waiting.done(self.looked_at - self.opened_at, now - self.opened_at)
        return (1 - doubt) * in_turn + doubt * anyhow


class InFlightQueue:
    """The open jobs, in submit order, by ticket."""

    def __init__(self) -> None:
        self.runners = RunnerCount()
        self.doubt = 0.0
        """The doubt that jobs run in submit order: 0 if all answers agree with that, up to 1."""
        self.has_queued = False
        """Whether any job was ever seen queued."""
        self._places: dict[int, InFlightJob] = {}
        self._next_ticket = 0
        self._next_number = 0
        self._left = 0
        self._front = -1
        self._counted_at = -math.inf
        self._unseen = (0.0, 0.0)
        self._has_changed = True
        """Whether anything has changed since ``advance`` last marked the jobs that have begun."""

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, ticket: int) -> bool:
        return ticket in self._places

    def __getitem__(self, ticket: int) -> InFlightJob:
        return self._places[ticket]

    def __iter__(self) -> Iterator[tuple[int, InFlightJob]]:
        return iter(self._places.items())

    @property
    def unseen(self) -> float:
        """The expected number of jobs that have ended but were not yet polled since."""
        return self._unseen[0]

    def enter(self, place: InFlightJob, *, in_line: bool) -> int:
        """Add a job at the end and return its ticket.

        A job that isn't ``in_line`` has no position, and counts as running from when it was opened.
        """
        if in_line:
            place.number, self._next_number = self._next_number, self._next_number + 1
            place.began_at = None
        ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
        self._places[ticket] = place
        self._has_changed = True
        return ticket

    def leave(self, ticket: int) -> None:
        """Remove a job that has ended or is no longer awaited. Raises ``KeyError`` if it is not in the queue."""
        self._left += self._places.pop(ticket).in_line
        self._has_changed = True

    def advance(self, now: float) -> None:
        """Mark the jobs as begun that should be running by now."""
        if not self._count(now) and not self._has_changed:
            return
        self._has_changed = False
        begun, is_first = self.begun(), True
        for place in self._places.values():
            if place.number >= 0:
                if place.began_at is None and (is_first or place.number < begun):
                    place.begin(now)
                is_first = False

    def begun(self) -> float:
        """Return how many jobs in line have ever begun to run, which is the number of the first that has not."""
        return self.runners.begun(self._left + self._unseen[0])

    def saw_queued(self, place: InFlightJob, now: float) -> None:
        """Record that a job is queued. Those behind it then count as queued too, unless they were seen running."""
        self.has_queued = True
        if place.number < self._front - _OVERTAKING:
            self.doubt += (1 - self.doubt) * _DOUBT_GROWS
        else:
            self.doubt *= _DOUBT_FADES
        for other in self._places.values():
            if other is place or (other.number >= place.number >= 0 and not other.seen_running):
                other.begin(None if other.in_line else now)
                other.queued_at = now
        self._answer(place, False, now)

    def saw_begun(self, place: InFlightJob, now: float) -> None:
        """Record that a job is running or has ended. Those before it then count as begun too, unless in doubt."""
        if place.in_line and not place.seen_running:
            self._front = max(self._front, place.number)
            self._answer(place, True, now)
        place.seen_running = True
        if place.began_at is None:
            place.begin((place.queued_at + now) / 2)
        if self.doubt < DISTRUST:
            for other in self._places.values():
                if other.number >= place.number:
                    break
                if other.began_at is None:
                    other.begin((other.queued_at + now) / 2)

    def edge(self) -> tuple[int, InFlightJob] | None:
        """Return the job that is most informative about how many run: the first assumed to be queued, or the last.

        None if all jobs in line are being polled or were seen running.
        """
        begun = self.begun() - 0.5
        last = None
        for ticket, place in self._places.items():
            if place.in_line and not place.is_looked_at and not place.seen_running:
                last = ticket, place
                if place.number >= begun:
                    break
        return last

    def sample(self, share: float) -> tuple[int, InFlightJob]:
        """Return the job at a relative position in the queue, from 0 to below 1."""
        return list(self._places.items())[int(len(self._places) * share)]

    def _answer(self, place: InFlightJob, began: bool, now: float) -> None:
        self._has_changed = True
        if not place.in_line:
            return
        self._count(now)
        own = place.may_have_ended(now, 0.0)
        ended, variance = self._unseen
        others, noise = self._left + max(ended - own, 0.0), max(variance - own * (1 - own), 0.0)
        if self.runners.answer(place.number, began, others, noise, now) and began:
            self.doubt += (1 - self.doubt) * _DOUBT_GROWS

    def _count(self, now: float) -> bool:
        """Update ``unseen``. Return False, without counting, if the last count is recent enough."""
        if now - self._counted_at < _COUNT_PER_JOB_S * len(self._places):
            return False
        ended = variance = 0.0
        for place in self._places.values():
            if place.in_line and place.began_at is not None:
                share = place.may_have_ended(now, 0.0)
                ended += share
                variance += share * (1 - share)
        self._counted_at, self._unseen = now, (ended, variance)
        return True
