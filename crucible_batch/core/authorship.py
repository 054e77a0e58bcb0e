"""Whose events are whose: which stretches of a journal were written by the runs that followed one saved plan."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

_ENDLESS = 2**63


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a run began: which saved plan it follows, and after which event of the journal, if that was noted."""

    plan_digest: str | None
    begins_after: int | None


class Author(enum.Enum):
    """Who moved a job since a plan was made."""

    NOBODY = enum.auto()
    THE_PLAN = enum.auto()
    ANOTHER_RUN = enum.auto()


def own_stretches(runs: Sequence[Beginning], plan_digest: str) -> tuple[range, ...]:
    """Return the numbers of the events that runs of this plan wrote. ``runs`` are all of a journal's, oldest first.

    One run at a time holds a directory, so a run's events end where the next one begins. A run that doesn't say where
    it began owns none, and neither does the one before it: what nobody can prove counts as another's.
    """
    own = []
    for run, following in zip_longest(runs, runs[1:]):
        if run.plan_digest == plan_digest and run.begins_after is not None:
            end = _ENDLESS if following is None else following.begins_after
            if end is not None:
                own.append(range(run.begins_after + 1, end + 1))
    return tuple(own)


def author_of(numbers: Iterable[int], own: Sequence[range]) -> Author:
    """Say who wrote the events of these numbers; one that isn't the plan's own makes it another run."""
    theirs = [any(number in stretch for stretch in own) for number in numbers]
    if not theirs:
        return Author.NOBODY
    return Author.THE_PLAN if all(theirs) else Author.ANOTHER_RUN
