"""A list of outputs that grows, shrinks or has gaps: each row of the table at the head of
``core/output_list.py``.
"""

from __future__ import annotations

from crucible_batch.core.output_list import MOST_OUTPUTS, merge_output_lists
from tests.harness.case_table import each_case


@each_case(
    "known, listed, after",
    [
        ((0,), (0, 1, 2), (0, 1, 2)),
        ((2,), (0, 1, 2), (2, 0, 1)),
        ((0, 1), (1,), (0, 1)),
        ((0, 1), (), (0, 1)),
        ((1, 4), (1, 4), (1, 4)),
        ((0,), (7,), (0, 7)),
        ((), (0, 3), (0, 3)),
    ],
)
def test_what_is_new_comes_after_what_was_known(known, listed, after):
    assert merge_output_lists(known, len(known), listed) == after


def test_what_only_a_count_is_known_of_are_those_listed_first():
    assert merge_output_lists(None, 1, (1, 2)) == (1, 2)
    assert merge_output_lists(None, 2, (1, 2)) == (1, 2)
    assert merge_output_lists(None, 2, (1,)) is None


def test_a_list_that_shows_other_numbers_each_time_ends():
    known: tuple[int, ...] = ()
    for look in range(5 * MOST_OUTPUTS):
        known = merge_output_lists(known, len(known), (look,)) or ()
    assert known == tuple(range(MOST_OUTPUTS))
