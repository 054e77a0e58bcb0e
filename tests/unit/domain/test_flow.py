"""The limit of jobs at work: its bounds, where it settles, and what it makes of bursts, waits and outages."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.domain.concurrency_limit import (
    FIRST_LIMIT,
    MOST_BY_ITSELF,
    WINDOW_S,
    ConcurrencyLimit,
    initial_limit,
)

ROUND_S = 2 * WINDOW_S

concurrencies = st.none() | st.integers(1, 200)
# A job is taken while so many are at work, or after a while an answer asks for less, and for a wait.
happenings = st.lists(
    st.integers(0, 300) | st.tuples(st.floats(0, 100, allow_nan=False), st.floats(0, 1000, allow_nan=False)),
    max_size=300,
)


def full_round(flow: ConcurrencyLimit) -> ConcurrencyLimit:
    """Every job that may be at work is taken."""
    in_use = flow.limit
    for _ in range(in_use):
        flow = flow.after_acceptance(in_use)
    return flow


def served(flow: ConcurrencyLimit, now: float, capacity: int) -> ConcurrencyLimit:
    """One round of a server that takes ``capacity`` jobs at once, and pushes the others back."""
    in_use = flow.limit
    for _ in range(min(in_use, capacity)):
        flow = flow.after_acceptance(in_use)
    for _ in range(in_use - capacity):
        flow = flow.after_pushback(now, 0.0)
    return flow


@given(concurrency=concurrencies, happenings=happenings)
def test_whatever_happens_the_limit_is_between_one_and_the_ceiling(concurrency, happenings):
    flow, now = initial_limit(concurrency), 0.0
    for happening in happenings:
        if isinstance(happening, int):
            flow = flow.after_acceptance(happening)
        else:
            now += happening[0]
            before = flow
            flow = flow.after_pushback(now, happening[1])
            assert flow.limit >= before.limit // 2
            # Of one that came by chance only the request itself waits.
            asked_until = before.resume_at if flow.is_by_chance else max(before.resume_at, now + happening[1])
            assert flow.resume_at == asked_until
        assert 1 <= flow.limit <= flow.ceiling
        assert flow.ceiling == (concurrency or MOST_BY_ITSELF)


def test_by_itself_it_begins_low_and_doubles_with_each_round_up_to_the_ceiling():
    flow = initial_limit(None)
    limits = [flow.limit]
    while flow.limit < flow.ceiling:
        flow = full_round(flow)
        limits.append(flow.limit)
    assert limits == [FIRST_LIMIT, 8, 16, 32, MOST_BY_ITSELF]


def test_a_number_that_was_named_is_there_from_the_beginning_and_never_exceeded():
    flow = initial_limit(24)
    assert full_round(full_round(flow)).limit == flow.limit == 24


@given(concurrency=st.integers(1, 200), burst=st.lists(st.floats(0, 0.99 * WINDOW_S), min_size=1, max_size=60))
def test_a_burst_is_one_fall(concurrency, burst):
    flow = initial_limit(concurrency)
    for at in sorted(burst):
        flow = flow.after_pushback(100 + min(burst) + at, 0.0)
    assert flow.limit == max(1, concurrency // 2)


def test_who_is_pushed_back_again_after_the_window_falls_again():
    flow = initial_limit(24)
    for number in range(10):
        flow = flow.after_pushback(number * ROUND_S, 0.0)
    assert flow.limit == 1


def test_a_window_is_as_long_as_the_wait_that_was_asked_for():
    flow = initial_limit(24).after_pushback(0.0, 30.0)
    assert flow.after_pushback(29.0, 0.0).limit == 12
    assert flow.after_pushback(31.0, 0.0).limit == 6


@given(waits=st.lists(st.tuples(st.floats(0, 50), st.floats(0, 120)), min_size=1, max_size=20))
def test_nothing_new_is_asked_for_before_the_longest_wait_has_passed(waits):
    flow, now, until = initial_limit(24), 0.0, -math.inf
    for passed, asked in waits:
        now += passed
        until = max(until, now + asked)
        flow = flow.after_pushback(now, asked)
    assert flow.resume_at == until


@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 8, 13, 24, 40, 63])
@pytest.mark.parametrize("concurrency", [None, 64])
def test_it_settles_about_what_a_server_takes(concurrency, capacity):
    flow, now, seen = initial_limit(concurrency), 0.0, []
    for _ in range(60 + 4 * capacity):
        now += ROUND_S
        flow = served(flow, now, capacity)
        seen.append(flow.limit)
    settled = seen[60:]
    assert max(settled) <= capacity + 1
    assert min(settled) >= max(1, (capacity + 1) // 2)
    pushed_back = sum(1 for before, after in itertools.pairwise(settled) if after < before)
    assert pushed_back <= 1 + len(settled) // max(1, capacity // 2)


@given(capacity=st.integers(1, 64), outage=st.integers(1, 40))
def test_after_an_outage_half_the_old_pace_is_there_within_a_few_rounds(capacity, outage):
    flow, now = initial_limit(capacity), 0.0
    for _ in range(outage):
        now += ROUND_S
        flow = flow.after_pushback(now, 0.0)
    assert flow.limit == max(1, capacity >> outage)
    for _ in range(math.ceil(math.log2(capacity)) + 1):
        flow = full_round(flow)
    assert flow.limit >= capacity // 2
    for _ in range(capacity):
        flow = full_round(flow)
    assert flow.limit == capacity


def test_what_is_not_used_does_not_grow():
    flow = initial_limit(None)
    for _ in range(1000):
        flow = flow.after_acceptance(1)
    assert flow.limit == FIRST_LIMIT


def answered(flow: ConcurrencyLimit, count: int, now: float, pushed) -> tuple[ConcurrencyLimit, float]:
    """Each tenth of a second an answer to a look or a submit; ``pushed(number)`` says whether it is a pushback."""
    for number in range(count):
        now += 0.1
        if pushed(number):
            flow = flow.after_pushback(now, 2.0)
        elif number % 3:
            flow = flow.after_answer(now)
        else:
            flow = flow.after_acceptance(flow.limit, now)
    return flow, now


def test_pushbacks_by_chance_neither_hold_the_limit_down_nor_make_all_others_wait():
    rng = random.Random(5)
    flow, now = answered(initial_limit(64), 2000, 0.0, lambda _number: rng.random() < 0.1)
    limits = []
    for _ in range(20):
        flow, now = answered(flow, 100, now, lambda _number: rng.random() < 0.1)
        limits.append(flow.limit)
    assert sorted(limits)[5] >= 32


def test_a_gateway_that_turns_away_by_chance_is_believed_when_it_turns_away_most():
    rng = random.Random(5)
    flow, now = answered(initial_limit(64), 2000, 0.0, lambda _number: rng.random() < 0.1)
    flow, now = answered(flow, 300, now, lambda number: number % 4)
    assert flow.limit <= 2
    assert flow.resume_at > now


def test_it_aims_at_the_runners_and_what_is_not_with_them_and_some_more():
    flow = initial_limit(None)
    while flow.limit < flow.ceiling:
        flow = full_round(flow)
    for _ in range(100):
        flow = flow.aimed(20.0, 3.0, 1)
    assert flow.allowed == 20 + 3 + 1 + 4
    assert flow.limit == MOST_BY_ITSELF
    assert flow.aimed(None, 3.0, 1).allowed == MOST_BY_ITSELF


@given(runners=st.floats(0, 1e6), unseen=st.floats(0, 1e6), elsewhere=st.integers(0, 1000))
def test_an_aim_never_lifts_a_limit_and_never_stops_a_run(runners, unseen, elsewhere):
    flow = initial_limit(None)
    for _ in range(50):
        flow = flow.aimed(runners, unseen, elsewhere)
    assert 1 <= flow.allowed <= flow.limit
