"""Whose events are whose, row by row."""

from __future__ import annotations

import pytest

from crucible_batch.domain.plan_staleness import Author, RunStart, change_author, own_event_numbers

OURS, THEIRS, MANIFEST = "ours", "theirs", None


@pytest.mark.parametrize(
    ("runs", "mine", "others"),
    [
        ([], [], [1]),
        ([(OURS, 0)], [1, 10**9], [0]),
        ([(OURS, 5)], [6], [5]),
        ([(OURS, 0), (MANIFEST, 4)], [1, 4], [5, 99]),
        ([(THEIRS, 0), (OURS, 4), (MANIFEST, 8), (OURS, 9)], [5, 8, 10], [4, 9]),
        ([(OURS, None)], [], [1]),
        ([(OURS, 0), (MANIFEST, None)], [], [1]),
        ([(OURS, 3), (OURS, 3)], [4], [3]),
    ],
    ids=[
        "no run",
        "the only run",
        "after the past",
        "then another",
        "in between",
        "unnoted",
        "unnoted end",
        "idle run",
    ],
)
def test_a_run_owns_what_came_after_it_began_and_before_the_next_did(
    runs: list[tuple[str | None, int | None]], mine: list[int], others: list[int]
) -> None:
    own = own_event_numbers([RunStart(*run) for run in runs], OURS)
    assert all(change_author([number], own) is Author.THE_PLAN for number in mine)
    assert all(change_author([number], own) is Author.ANOTHER_RUN for number in others)


def test_one_event_of_another_run_is_enough_and_none_is_nobodys() -> None:
    own = own_event_numbers([RunStart(OURS, 0), RunStart(MANIFEST, 2)], OURS)
    assert change_author([1, 2, 3], own) is Author.ANOTHER_RUN
    assert change_author([], own) is Author.NOBODY
