"""How many jobs run at once: found from yes and no, kept while the answers bear it out, and left when they belie it."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.domain.service_times import RunnerCount


def found(runners: int, asked: int, *, noise: float = 0.0, seed: int = 3) -> RunnerCount:
    """Ask each second about the job at the edge, of a gateway with so many runners."""
    rng, count = random.Random(seed), RunnerCount()
    for second in range(asked):
        ended = 10.0 * second
        number = max(round(count.begun(ended) - 0.5), 0)
        truth = runners + ended + rng.gauss(0, noise)
        count.answer(number, number < truth, ended, noise**2, float(second))
    return count


@pytest.mark.parametrize("runners", [1, 2, 5, 20, 50, 200])
def test_it_is_found_within_some_tens_of_answers(runners):
    count = found(runners, 60)
    assert count.mean == pytest.approx(runners, abs=max(2.0, 0.1 * runners))
    assert not count.is_vague


def test_it_is_found_where_nobody_knows_exactly_how_many_have_ended():
    assert found(20, 300, noise=2.0).mean == pytest.approx(20, abs=3)


def test_answers_that_were_expected_hardly_move_it():
    count = found(20, 100)
    mean = count.mean
    assert not count.answer(2, True, 0.0, 0.0, 100.0)
    assert not count.answer(60, False, 0.0, 0.0, 100.0)
    assert count.mean == pytest.approx(mean, abs=0.1)


def test_an_answer_that_belies_it_is_a_surprise_and_moves_it():
    count = found(20, 100)
    assert count.answer(40, True, 0.0, 0.0, 100.0)
    assert count.mean > 21


def test_runners_that_others_have_taken_are_missed_before_long():
    count = found(20, 100)
    for second in range(100, 160):
        number = max(round(count.begun(0.0) - 0.5), 0)
        count.answer(number, number < 6, 0.0, 0.0, float(second))
    assert count.mean == pytest.approx(6, abs=2)


@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.booleans(), st.floats(0, 1e6), st.floats(0, 1e4), st.floats(0, 1e4)),
        max_size=60,
    )
)
def test_whatever_the_answers_it_stays_a_number_of_at_least_one(answers):
    count, now = RunnerCount(), 0.0
    for number, began, ended, variance, passed in answers:
        now += passed
        count.answer(number, began, ended, variance, now)
        assert 1 <= count.mean < math.inf
        assert math.isfinite(count.skew)
