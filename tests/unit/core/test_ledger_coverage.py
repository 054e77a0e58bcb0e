"""Coverage of the gateway's ledger: readings that overlap have missed nothing, and a gap never
extends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.gateway_types import LedgerEntry
from crucible_batch.core.ledger_coverage import LedgerCoverage
from tests.harness.case_table import each_case
from tests.harness.replacing import replace

ENTRIES = {
    name: LedgerEntry(name, "reserve", Decimal(2), at=float(number))
    for number, name in enumerate("abcdefgh", start=1)
}


def reading(names: Sequence[str], at: float) -> LedgerCoverage:
    """Return a reading of entries that were made in the order of the alphabet."""
    return LedgerCoverage.of([ENTRIES[name] for name in names], at)


def covering(since: float, until: float, names: Sequence[str]) -> LedgerCoverage:
    return replace(reading(names, until), since=since)


@each_case("now", ["b", "bc", "abc", "cb", "bh"])
def test_a_reading_with_the_newest_entry_of_the_last_one_extends_the_coverage(now: str) -> None:
    assert covering(1, 5, "ab").after(reading(now, 9)) == covering(1, 9, now)


def test_an_older_state_of_the_list_extends_it_too() -> None:
    assert covering(1, 5, "bcd").after(reading("abc", 9)) == covering(1, 9, "abc")


@each_case("before, now", [("a", "b"), ("a", ""), ("", "a"), ("", "")])
def test_a_gap_begins_the_coverage_again(before: str, now: str) -> None:
    assert covering(1, 5, before).after(reading(now, 9)) == covering(9, 9, now)


@each_case("now", ["agh", "bgh", "abgh"])
def test_an_older_entry_that_is_still_listed_hides_no_gap(now: str) -> None:
    """One may be pinned, such as a balance that was brought forward."""
    assert covering(1, 5, "abc").after(reading(now, 9)) == covering(9, 9, now)


@each_case(
    "changes, since",
    [({"status": "posted"}, 9), ({"amount": Decimal(3)}, 9), ({"at": 8.5}, 9), ({}, 1)],
)
def test_an_entry_that_has_changed_may_be_listed_again_and_hides_no_gap(
    changes: dict[str, object], since: float
) -> None:
    changed = replace(ENTRIES["c"], **changes)  # type: ignore[arg-type]
    entries = [changed, ENTRIES["g"], ENTRIES["h"]]
    assert covering(1, 5, "abc").after(LedgerCoverage.of(entries, 9)).since == since


def test_one_that_has_changed_in_its_place_is_no_gap() -> None:
    entries = [ENTRIES["b"], replace(ENTRIES["c"], status="posted"), ENTRIES["d"]]
    assert covering(1, 5, "abc").after(LedgerCoverage.of(entries, 9)).since == 1


@each_case("order", ["abcd", "dcba"])
def test_the_list_may_begin_with_the_newest(order: str) -> None:
    same_time = [replace(ENTRIES[name], at=5.0) for name in order]
    same_time[-1] = replace(same_time[-1], at=5.0 + (order[-1] == "d"))
    same_time[0] = replace(same_time[0], at=5.0 + (order[0] == "d"))
    assert LedgerCoverage.of(same_time, 9).keys == ("a", "b", "c", "d")


def test_only_the_entries_of_the_last_reading_count_for_the_overlap() -> None:
    assert (
        covering(1, 5, "a")
        .after(reading("ab", 6))
        .after(reading("b", 7))
        .after(reading("a", 8))
        .since
        == 8
    )


@each_case("names, since", [("a", 5), ("b", 20)])
def test_a_clock_that_was_set_back_begins_no_coverage_earlier(names: str, since: float) -> None:
    assert covering(5, 20, "a").after(reading(names, 2)) == covering(since, 20, names)


@each_case("moment, is_covered", [(4.9, False), (5, True), (5.1, True), (30, True)])
def test_it_covers_what_was_made_since_it_began(moment: float, is_covered: bool) -> None:
    assert covering(5, 20, "a").covers(moment) is is_covered


@each_case(
    "begun, ended, has_lasted", [(5, 20, True), (4.9, 20, False), (5, 20.1, False), (8, 9, True)]
)
def test_it_has_lasted_from_its_first_reading_to_its_last(
    begun: float, ended: float, has_lasted: bool
) -> None:
    assert covering(5, 20, "a").has_lasted(begun, ended) is has_lasted


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(1, 4), st.integers(0, 9)), min_size=1, max_size=12
    ),
    st.booleans(),
)
def test_all_that_a_coverage_covers_was_seen(
    steps: Sequence[tuple[int, int, int]], is_pinned: bool
) -> None:
    """A gateway lists its newest entries, and may pin the oldest one; between two readings some are
    made."""
    made_at = [0.0, 1.0]
    seen = {0, 1}
    clock = 100.0

    def listed_now(first: int) -> LedgerCoverage:
        shown = sorted({*range(first, len(made_at)), *([0] if is_pinned else [])})
        seen.update(shown)
        return LedgerCoverage.of(
            [LedgerEntry(str(n), "", Decimal(1), at=made_at[n]) for n in shown], clock
        )

    coverage = listed_now(0)
    for new, listed, passed in steps:
        made_at += [clock + 0.25] * new
        clock += 0.5 + passed
        coverage = coverage.after(listed_now(max(0, len(made_at) - listed)))
        covered = {number for number, at in enumerate(made_at) if coverage.covers(at)}
        assert covered <= seen
        assert coverage.until == clock
