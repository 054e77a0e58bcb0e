"""The line: open jobs in submit order, which of them have begun to run by now, and which may have ended unseen.

A gateway that takes jobs in turn runs the first few and queues the rest, so a job far behind must still be queued, and
a job is as old as its turn is past. Where an answer contradicts that (one job runs while an earlier one is queued)
``doubt`` grows, and with it weighs more what holds in any order: how long jobs took since they were accepted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from crucible_batch.domain.service_times import Hazards, RunnerCount

_OVERTAKING = 4
"""Jobs that are submitted at the same time may arrive in another order; so many places prove nothing."""
_DOUBT_GROWS = 0.15
_DOUBT_FADES = 0.95
FAINT = 0.02
"""A doubt that is less is none."""
DISTRUST = 0.3
"""From here on nothing is concluded of a job's neighbours."""
_COUNT_PER_JOB_S = 1e-4
"""All jobs are counted anew so rarely that it takes a hundredth of the time, whatever their number."""


@dataclass(slots=True, eq=False)
class InFlightJob:
    """One open job. Times are of one monotonic clock, in seconds."""

    running: Hazards
    waiting: Hazards
    opened_at: float
    until: float
    """When it is looked at whatever is known of it: its timeout."""
    number: int = -1
    """In submit order, from 0; -1 for one that was submitted before this run, whose place isn't known."""
    looked_at: float = field(init=False)
    """When a look last found it not ended."""
    queued_at: float = field(init=False)
    """Until when it is known not to have run."""
    began_at: float | None = field(init=False)
    """When it began to run, as far as can be told; None while it is held to be queued."""
    due_at: float | None = None
    """When it is to be looked at; None: to be found out anew."""
    seen_running: bool = False
    is_looked_at: bool = False

    def __post_init__(self) -> None:
        self.looked_at = self.queued_at = self.began_at = self.opened_at

    @property
    def in_line(self) -> bool:
        return self.number >= 0

    def begin(self, at: float | None) -> None:
        """Say when it began; None: it hasn't."""
        self.began_at, self.due_at = at, None

    def age(self, at: float) -> float:
        """Return for how long it has run."""
        return 0.0 if self.began_at is None else max(at - self.began_at, 0.0)

    def may_have_ended(self, now: float, doubt: float) -> float:
        """Return the probability that it has ended since the last look."""
        in_turn = 0.0
        if self.began_at is not None:
            in_turn = self.running.done(self.age(self.looked_at), self.age(now))
        if doubt < FAINT or self.seen_running:
            return in_turn
        anyhow = self.waiting.done(self.looked_at - self.opened_at, now - self.opened_at)
        return (1 - doubt) * in_turn + doubt * anyhow


class InFlightQueue:
    """All open jobs."""

    def __init__(self) -> None:
        self.runners = RunnerCount()
        self.doubt = 0.0
        """From 0, where jobs run in turn as far as can be seen, to 1."""
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
        """Since it was last seen to whose turn has come."""

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
        """How many jobs are likely to have ended that nobody has seen yet."""
        return self._unseen[0]

    def enter(self, place: InFlightJob, *, in_line: bool) -> int:
        """Add a job at the end; return its ticket. One that isn't in line counts as running from now on."""
        if in_line:
            place.number, self._next_number = self._next_number, self._next_number + 1
            place.began_at = None
        ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
        self._places[ticket] = place
        self._has_changed = True
        return ticket

    def leave(self, ticket: int) -> None:
        """Take a job out: it has ended, or nobody waits for it any more."""
        self._left += self._places.pop(ticket).in_line
        self._has_changed = True

    def advance(self, now: float) -> None:
        """Let those begin whose turn has come by now."""
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
        """Return how many jobs in line have begun to run, ever: the number of the first that hasn't."""
        return self.runners.begun(self._left + self._unseen[0])

    def saw_queued(self, place: InFlightJob, now: float) -> None:
        """Take in that a job is queued. Then so are those behind it."""
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
        """Take in that a job runs, or has ended. Then those before it have begun as well."""
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
        """Return a job that tells most about how many run: the first that is held to be queued, or the last."""
        begun = self.begun() - 0.5
        last = None
        for ticket, place in self._places.items():
            if place.in_line and not place.is_looked_at and not place.seen_running:
                last = ticket, place
                if place.number >= begun:
                    break
        return last

    def sample(self, share: float) -> tuple[int, InFlightJob]:
        """Return the job that stands at a share, from 0 to below 1, of the line."""
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
        """Count those that may have ended unseen; False where the last count is still good enough."""
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
