"""Which generation of a job is asked for, and which outputs count. Pure.

Each index has its earliest output that is not rejected. A job asks for its next generation only if
all outputs of an index, in the generations so far, are rejected:

    what is known of generation N                           what follows
      nothing                                               it is asked for: free if it was bought
      each index has an output that is not rejected         it is the last; nothing is bought
      an index has only rejected outputs                    generation N + 1, unless:
        a person has rejected the same bytes before         the job ends, SAME_OUTPUT
        N is the maximum, and no further one is known       the job ends, REDO_LIMIT
        the seed is a fixed parameter                       the job ends, FIXED_SEED
      an index is missing, and more may come                nothing yet

A check may reject the same bytes each time, such as those of a black picture: what comes next may
be another one.

So the result depends on the rejections and on the bytes that the gateway has sent, and is the same
on each machine, however often it is asked for.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from crucible_batch.features.redo.rejections import Rejection

SAME_OUTPUT = "SAME_OUTPUT"
REDO_LIMIT = "REDO_LIMIT"
FIXED_SEED = "FIXED_SEED"


class RedoEnd(enum.Enum):
    """Why no further generation of a job is asked for."""

    SAME_OUTPUT = enum.auto()
    REDO_LIMIT = enum.auto()
    FIXED_SEED = enum.auto()


@dataclass(frozen=True, slots=True)
class KnownGeneration:
    """What is known of one generation of a job.

    ``outputs`` are the digests of its outputs as sent, by their numbers. ``is_complete``: there are
    no others. ``is_gone``: it was bought before its journal was lost, and the gateway does not know
    the job any more, so the bytes that it had are not known.
    """

    outputs: Mapping[int, str] = field(default_factory=dict)
    is_complete: bool = False
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The generation that is asked for, and the generation whose output counts, by index.

    ``end``: no further one is asked for, although an index has only rejected outputs. ``rejected``
    are the lines, by index and generation of the outputs that they reject.
    """

    generation: int
    current: Mapping[int, int] = field(default_factory=dict)
    end: RedoEnd | None = None
    rejected: Mapping[tuple[int, int], Rejection] = field(default_factory=dict)

    @property
    def last(self) -> Rejection:
        """The line that rejects an output of the newest generation."""
        return self.rejected[max(self.rejected, key=lambda at: (at[1], at[0]))]


def choose(
    lines: Sequence[Rejection],
    generations: Sequence[KnownGeneration],
    *,
    most: int,
    name: str,
    has_fixed_seed: bool = False,
) -> Choice:
    """Return the choice by the table above.

    Of the outputs that are rejected, those up to this generation are noted. ``lines`` are the
    rejections that may be about the job ``name``, ``generations`` those that were asked for, from
    0. ``most`` is the highest number of a generation.
    """
    current: dict[int, int] = {}
    bad: dict[int, set[str]] = {}
    """The digests of rejected outputs, by index."""
    rejected: dict[tuple[int, int], Rejection] = {}
    number = 0
    while True:
        known = generations[number] if number < len(generations) else KnownGeneration()
        repeated = set[int]()
        for index, digest in sorted(known.outputs.items()):
            line = next((line for line in lines if line.is_of(index, digest)), None)
            if line is None:
                current.setdefault(index, number)
                continue
            rejected[index, number] = line
            before = bad.setdefault(index, set())
            if digest in before and not line.is_of_check:
                repeated.add(index)
            before.add(digest)
        if known.is_gone:
            for line in lines:
                is_own = line.name == name and line.generation == number
                if is_own and line.index not in known.outputs:
                    bad.setdefault(line.index, set())
                    rejected[line.index, number] = line
        lacking = bad.keys() - current.keys()
        if not known.is_complete and not known.is_gone:
            lacking &= known.outputs.keys()
        if not lacking:
            return Choice(number, current, None, rejected)
        end: RedoEnd | None = None
        if lacking & repeated:
            end = RedoEnd.SAME_OUTPUT
        elif number >= most and number + 1 >= len(generations):
            end = RedoEnd.REDO_LIMIT
        elif has_fixed_seed:
            end = RedoEnd.FIXED_SEED
        if end is not None:
            return Choice(number, current, end, rejected)
        number += 1
