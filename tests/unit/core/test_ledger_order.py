"""The order of entries of one time: what shows which end of a list is the newest, and the places
that keep it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.gateway_types import LedgerEntry
from crucible_batch.core.ledger_order import is_before, with_places
from tests.harness.case_table import each_case

FOX, OWL = "00000000-0000-4000-8000-00000000000f", "00000000-0000-4000-8000-00000000000e"


def entry(
    name: str,
    at: float | None = 1.0,
    kind: str = "grant",
    *,
    job_id: str | None = None,
    text: str = "",
) -> LedgerEntry:
    return LedgerEntry(name, kind, Decimal(2), at, job_id, description=text)


def of_job(kinds: str, *, job_id: str = FOX, at: float | None = 1.0) -> list[LedgerEntry]:
    """Entries of a job in the order of their kinds, by the first letters."""
    words = {"r": "reserve", "c": "consume", "b": "refund"}
    return [
        entry(f"{number}{job_id[-1]}", at, words[kind], job_id=job_id)
        for number, kind in enumerate(kinds)
    ]


def places(
    entries: Sequence[LedgerEntry], known: Mapping[str, int | None] | None = None
) -> list[int | None]:
    return [each.place for each in with_places(entries, known or {}, 10)]


UP, DOWN, UNKNOWN = [11, 12, 13], [13, 12, 11], [None, None, None]


@each_case(
    "times, expected",
    [
        ([1.0, 1.0, 2.0], UP),
        ([1.0, 2.0, 2.0], UP),
        ([2.0, 1.0, 1.0], DOWN),
        ([1.0, 1.0, 1.0], UNKNOWN),
        ([None, None, None], UNKNOWN),
        ([1.0, None, 2.0], UP),
        ([2.0, None, 1.0], DOWN),
        # the order is another one, or an old entry is pinned
        ([1.0, 2.0, 1.0], UNKNOWN),
        ([1.0, 3.0, 2.0], UNKNOWN),
    ],
)
def test_times_show_which_end_of_a_list_is_the_newest(
    times: Sequence[float | None], expected: Sequence[int | None]
) -> None:
    assert places([entry(str(number), at) for number, at in enumerate(times)]) == expected


@each_case(
    "entries, is_known",
    [
        (of_job("rcb"), True),
        (of_job("rbc"), True),
        (of_job("rrb"), True),
        # a further reservation, or one whose beginning is not listed
        (of_job("rbr"), True),
        (of_job("cbb"), True),
        # the opposite order
        (of_job("bcr"), False),
        (of_job("br"), False),
        ([*of_job("rc"), *of_job("br", job_id=OWL)], False),
        # of different jobs
        ([*of_job("bc"), *of_job("r", job_id=OWL)], True),
        # a job is named in a text
        (
            [
                entry("a", 1.0, "refund", text=f"of {FOX}"),
                entry("b", 1.0, "reserve", text=f"job {FOX}"),
            ],
            False,
        ),
        ([entry("a", 1.0, "refund", text="job"), entry("b", 1.0, "reserve", text="job")], True),
        # not of one time: the list may be in the order in which they were booked
        ([of_job("b", at=1.0)[0], of_job("cr", at=2.0)[1]], True),
    ],
)
def test_a_list_with_a_reservation_after_a_refund_of_its_time_has_no_order(
    entries: Sequence[LedgerEntry], is_known: bool
) -> None:
    count = len(entries) + 1
    oldest_first = [entry("x", 0.0), *entries]
    assert places(oldest_first) == ([*range(11, 11 + count)] if is_known else [None] * count)
    assert places(oldest_first[::-1]) == (
        [*range(10 + count, 10, -1)] if is_known else [None] * count
    )


def test_without_different_times_reservations_show_no_order() -> None:
    """They may be further ones, whose first is not listed any more."""
    assert places(of_job("rcb")) == places(of_job("bcr")) == UNKNOWN


@each_case(
    "names, known, expected",
    [
        # what is new is the newest
        ("abc", {"a": 4, "b": 6}, [4, 6, 11]),
        ("bc", {"b": 6}, [6, 11]),
        ("ab", {"a": 4, "b": 6}, [4, 6]),
        # listed late
        ("abc", {"a": 4, "c": 6}, [11, 12, 13]),
        ("abc", {"b": 6}, [11, 12, 13]),
        # in another order
        ("abc", {"a": 6, "b": 4}, [11, 12, 13]),
    ],
)
def test_an_entry_keeps_its_place_as_long_as_no_older_one_is_listed_late(
    names: str, known: Mapping[str, int], expected: Sequence[int]
) -> None:
    entries = [entry(name, 1.0 + (name == names[-1])) for name in names]
    assert places(entries, known) == expected
    assert places(entries[::-1], known) == expected[::-1]


def test_a_list_without_an_order_leaves_the_places_that_are_known() -> None:
    assert places([entry("a"), entry("b"), entry("c")], {"a": 6, "b": 4}) == [6, 4, None]


@each_case(
    "first, second, expected",
    [
        ((1.0, None), (2.0, None), True),
        ((2.0, 3), (1.0, 4), False),
        ((1.0, 3), (1.0, 4), True),
        ((1.0, 4), (1.0, 3), False),
        ((None, 3), (1.0, 4), True),
        ((1.0, None), (1.0, 4), False),
        ((1.0, 3), (1.0, None), False),
        ((None, None), (1.0, None), False),
    ],
)
def test_the_time_decides_and_then_the_place(
    first: tuple[float | None, int | None], second: tuple[float | None, int | None], expected: bool
) -> None:
    one, other = (
        LedgerEntry("e", "refund", Decimal(1), at, place=place) for at, place in (first, second)
    )
    assert is_before(one, other) is expected


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 4), st.booleans()), min_size=1, max_size=8
    ),
    st.booleans(),
)
def test_places_are_in_the_order_of_booking(
    steps: list[tuple[int, int, bool]], is_newest_first: bool
) -> None:
    """In whichever readings entries are seen, however many have one time, and in both directions of
    the list."""
    booked: list[LedgerEntry] = []
    known: dict[str, int] = {}
    for seconds, count, is_read in steps:
        at = (booked[-1].at or 0.0) + seconds if booked else 0.0
        booked += [entry(str(len(booked) + number), at) for number in range(count)]
        if is_read:
            shown = booked[-6:]
            placed = with_places(
                shown[::-1] if is_newest_first else shown, known, max(known.values(), default=0)
            )
            known |= {each.key: each.place for each in placed if each.place is not None}
    in_order = [known[each.key] for each in booked if each.key in known]
    assert in_order == sorted(in_order)
    assert len(set(in_order)) == len(in_order)
