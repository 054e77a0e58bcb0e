"""Which outputs of a run are copies of others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import product

from crucible_batch.features.quality.measurements import CELL, GRID, Fingerprint

MOST_COMPARED = 32
"""Pictures that are compared with one other. More that are alike, and not copies, are textures."""

_Place = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Measured:
    """An output with its fingerprint. ``place`` is its place among all outputs of the run.

    ``sources`` are the names of the jobs from whose outputs it was made, and from which these were:
    an enlarged picture is not a copy.
    """

    place: int
    name: str
    fingerprint: Fingerprint
    sources: Set[str] = frozenset()
    is_known_copy: bool = False


def copies(
    outputs: Iterable[Measured], are_copies: Callable[[int, int], bool]
) -> Iterator[tuple[int, int]]:
    """Yield the places of each copy and of the first output that it is a copy of.

    ``outputs`` are in the manifest's order: of two copies, the later one is yielded. Known copies
    are not compared again, and nothing is a copy of one. ``are_copies`` compares the pictures of
    two outputs that are alike.
    """
    kept: defaultdict[_Place, list[Measured]] = defaultdict(list)
    for output in outputs:
        if output.is_known_copy:
            continue
        original = _original(output, kept, are_copies)
        if original is None:
            kept[_bucket(output.fingerprint)].append(output)
        else:
            yield output.place, original.place


def _original(
    output: Measured,
    kept: defaultdict[_Place, list[Measured]],
    are_copies: Callable[[int, int], bool],
) -> Measured | None:
    near = sorted(_near(output, kept), key=lambda each: each.place)
    for other in near[:MOST_COMPARED]:
        if are_copies(other.place, output.place):
            return other
    return None


def _near(output: Measured, kept: defaultdict[_Place, list[Measured]]) -> Iterator[Measured]:
    """Yield the kept outputs that are alike."""
    bucket = _bucket(output.fingerprint)
    for steps in product((-1, 0, 1), repeat=3):
        place = (bucket[0] + steps[0], bucket[1] + steps[1], bucket[2] + steps[2])
        if place not in kept:
            continue
        for other in kept[place]:
            is_source = other.name in output.sources
            if not is_source and output.fingerprint.is_alike(other.fingerprint):
                yield other


def _bucket(fingerprint: Fingerprint) -> _Place:
    """Return a place near which all fingerprints that are alike have theirs.

    If no cell differs by more than ``CELL``, neither does the mean of any of them.
    """
    cells = fingerprint.cells
    top = sum(cells[: len(cells) // 2])
    bottom = sum(cells[len(cells) // 2 :])
    left = sum(sum(cells[at : at + GRID // 2]) for at in range(0, len(cells), GRID))
    each = CELL * len(cells) // 2
    return top // each, bottom // each, left // each
