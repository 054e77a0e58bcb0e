"""The order of the ledger's entries that have one time, such as one that is cut to the second.

The gateway lists its newest entries, and the contract doesn't define which end of the list is the
newest. The times show it, unless all are equal or some are in another order. The reservation of a
job is older than its charge and its refund: a list that has them of one time in the other order
doesn't order entries of one time.

Where the order is known, each entry gets a place: a number that is higher than that of any older
entry, in this list and in those before. It is kept with the entry, so it is known after a restart,
and once the entry is not listed any more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from crucible_batch.core.gateway_types import LedgerEntry
from crucible_batch.core.ledger_statement import EntryKind, entry_kind, job_of


def is_before(first: LedgerEntry, second: LedgerEntry) -> bool:
    """Whether an entry is certainly older than another, by their times or else their places."""
    if first.at is not None and second.at is not None and first.at != second.at:
        return first.at < second.at
    return first.place is not None and second.place is not None and first.place < second.place


def with_places(
    entries: Sequence[LedgerEntry], known: Mapping[str, int | None], last: int
) -> list[LedgerEntry]:
    """Return a list of the gateway with the place of each entry, None if no list has shown it.

    ``known`` are the places of its entries that were listed before, by their keys, and ``last`` is
    the highest one of all. If an entry is listed late, between others, all get new places.
    """
    ordered = [entry.key for entry in _oldest_first(entries)]
    places = [known.get(key) for key in ordered]
    kept = [place for place in places if place is not None]
    is_continued = places[: len(kept)] == kept and all(
        first < second for first, second in pairwise(kept)
    )
    fresh = ordered
    if is_continued:
        fresh = ordered[len(kept) :]
    new = {key: last + number for number, key in enumerate(fresh, start=1)}
    return [replace(entry, place=new.get(entry.key, known.get(entry.key))) for entry in entries]


def _oldest_first(entries: Sequence[LedgerEntry]) -> Sequence[LedgerEntry]:
    """Return the entries of a list in their order; none if the list doesn't show it."""
    signs = {*_signs_of_times(entries)}
    if len(signs) != 1 or not signs.issuperset(_signs_of_reservations(entries)):
        return ()
    if signs == {False}:
        return entries[::-1]
    return entries


def _signs_of_times(entries: Sequence[LedgerEntry]) -> Iterator[bool]:
    """Yield whether the earlier one of two entries comes first, for those of different times."""
    times = [entry.at for entry in entries if entry.at is not None]
    return (first < second for first, second in pairwise(times) if first != second)


def _signs_of_reservations(entries: Sequence[LedgerEntry]) -> Iterator[bool]:
    """Yield whether a job's reservations come before its charges and refunds of the same time."""
    reserved: dict[object, list[int]] = defaultdict(list)
    later: dict[object, list[int]] = defaultdict(list)
    for number, entry in enumerate(entries):
        job_id, kind = job_of(entry), entry_kind(entry, of_job=True)
        if job_id is not None and kind is not EntryKind.OTHER:
            by_name = later
            if kind is EntryKind.RESERVE:
                by_name = reserved
            by_name[job_id, entry.at].append(number)
    for name in reserved.keys() & later.keys():
        if reserved[name][-1] < later[name][0]:
            yield True
        elif reserved[name][0] > later[name][-1]:
            yield False
