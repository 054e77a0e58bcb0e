"""Coverage of the gateway's ledger: readings that overlap have missed nothing, and a gap never extends it."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.domain.ledger_coverage import LedgerCoverage
from tests.case_table import each_case


def covering(since: float, until: float, *keys: str) -> LedgerCoverage:
    return LedgerCoverage(since, until, frozenset(keys))


def test_a_reading_that_shares_an_entry_extends_the_coverage() -> None:
    assert covering(1, 5, "a", "b").after({"b", "c"}, 9) == covering(1, 9, "b", "c")


@each_case("before, now", [(["a"], ["b"]), (["a"], []), ([], ["a"]), ([], [])])
def test_a_gap_begins_the_coverage_again(before: list[str], now: list[str]) -> None:
    assert covering(1, 5, *before).after(set(now), 9) == covering(9, 9, *now)


def test_only_the_entries_of_the_last_reading_count_for_the_overlap() -> None:
    assert covering(1, 5, "a").after({"a", "b"}, 6).after({"b"}, 7).after({"a"}, 8).since == 8


@each_case("keys, since", [(["a"], 5), (["b"], 20)])
def test_a_clock_that_was_set_back_begins_no_coverage_earlier(keys: list[str], since: float) -> None:
    assert covering(5, 20, "a").after(set(keys), 2) == covering(since, 20, *keys)


@each_case("moment, is_covered", [(4.9, False), (5, True), (5.1, True), (30, True)])
def test_it_covers_what_was_made_since_it_began(moment: float, is_covered: bool) -> None:
    assert covering(5, 20, "a").covers(moment) is is_covered


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4), st.integers(0, 9)), min_size=1, max_size=12))
def test_all_that_a_coverage_covers_was_seen(steps: Sequence[tuple[int, int, int]]) -> None:
    """A gateway lists its newest entries; between two readings some are made."""
    made_at = [0.0]
    seen = {0}
    clock = 100.0
    coverage = LedgerCoverage(clock, clock, frozenset({"0"}))
    for new, listed, passed in steps:
        made_at += [clock + 0.25] * new
        clock += 0.5 + passed
        shown = range(max(0, len(made_at) - listed), len(made_at))
        coverage = coverage.after({str(number) for number in shown}, clock)
        seen |= set(shown)
        covered = {number for number, at in enumerate(made_at) if coverage.covers(at)}
        assert covered <= seen
        assert coverage.until == clock
