"""Which entry of a ledger is whose, where none of them says so: by amount and by time, as far as that goes."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from crucible_batch.core.answers import LedgerEntry
from crucible_batch.core.credits import Credits
from crucible_batch.core.statement import Clocks, size_of


@dataclass(frozen=True, slots=True)
class Wanted:
    """An entry that is looked for: its amount, and the moments of our clock between which it was made.

    ``surely_shown``: it is neither so old that the gateway may no longer show it, nor so new that it may not yet.
    """

    amount: Credits
    begun: float
    ended: float
    surely_shown: bool


@dataclass(frozen=True, slots=True)
class Match:
    """``found`` gives the entry of each wanted one by its place; ``vague`` are those that another fits as well."""

    found: Mapping[int, LedgerEntry]
    vague: frozenset[int]
    left: tuple[LedgerEntry, ...]


def match_entries(wanted: Sequence[Wanted], entries: Iterable[LedgerEntry], clocks: Clocks) -> Match:
    """Give as many of the wanted as possible an entry of their own.

    Entries are taken as they come in time; each goes to the wanted one whose time is over first. For intervals, that
    is as good as trying every way. Those that are surely shown choose first: else one whose own entry is no longer
    shown could take another's, and that would look like a difference.
    """
    groups: dict[Credits, list[int]] = defaultdict(list)
    for place, each in enumerate(wanted):
        groups[each.amount].append(place)
    offered: dict[Credits, list[LedgerEntry]] = defaultdict(list)
    for entry in entries:
        offered[size_of(entry)].append(entry)
    found: dict[int, LedgerEntry] = {}
    taken: set[int] = set()
    for amount, places in groups.items():
        for surely_shown in (True, False):
            choosers = {place: wanted[place] for place in places if wanted[place].surely_shown is surely_shown}
            free = [entry for entry in offered[amount] if id(entry) not in taken]
            assigned = _assign(choosers, free, clocks)
            taken |= {id(entry) for entry in assigned.values()}
            found |= assigned
    left = tuple(entry for group in offered.values() for entry in group if id(entry) not in taken)
    vague = frozenset(
        place
        for entry in left
        for place in groups.get(size_of(entry), ())
        if clocks.may_lie_between(entry.at, wanted[place].begun, wanted[place].ended)
    )
    return Match(found, vague, left)


def _assign(wanted: Mapping[int, Wanted], entries: Sequence[LedgerEntry], clocks: Clocks) -> dict[int, LedgerEntry]:
    coming = sorted(wanted, key=lambda place: wanted[place].begun, reverse=True)
    open_places: list[tuple[float, int]] = []
    found: dict[int, LedgerEntry] = {}
    timeless = [entry for entry in entries if entry.at is None]
    for entry in sorted((entry for entry in entries if entry.at is not None), key=lambda entry: entry.at or 0.0):
        while coming and clocks.may_lie_between(entry.at, wanted[coming[-1]].begun, float("inf")):
            place = coming.pop()
            heapq.heappush(open_places, (wanted[place].ended, place))
        while open_places and not clocks.may_lie_between(entry.at, float("-inf"), open_places[0][0]):
            heapq.heappop(open_places)
        if open_places:
            found[heapq.heappop(open_places)[1]] = entry
    missing = [place for place in wanted if place not in found]
    return found | dict(zip(missing, timeless, strict=False))
