"""The limit of concurrent jobs: what each answer to a submit changes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.gateway_types import JobStatus
from crucible_batch.pace.concurrency import (
    FIRST_LIMIT,
    MOST_BY_ITSELF,
    MOST_QUEUED,
    PROBE_S,
    SILENCE,
    ConcurrencyLimit,
    initial_limit,
)


def accept(rule: ConcurrencyLimit, count: int = 1) -> None:
    for _ in range(count):
        rule.accepted()


def refuse(
    rule: ConcurrencyLimit, sent_at: float = 1.0, asked_s: float = 0.0, in_flight: int = 100
) -> None:
    rule.refused(sent_at, sent_at, asked_s, in_flight)


def after_slow_start(limit: float, ceiling: int = 256) -> ConcurrencyLimit:
    rule = ConcurrencyLimit(ceiling, ceiling)
    rule._starts = False
    rule.limit = limit
    return rule


def test_without_a_given_concurrency_the_limit_starts_low_and_doubles_in_a_round():
    rule = initial_limit(None)
    assert (rule.allowed, rule.ceiling) == (FIRST_LIMIT, MOST_BY_ITSELF)
    accept(rule, 4)
    assert rule.allowed == 8
    accept(rule, 1000)
    assert rule.allowed == MOST_BY_ITSELF


def test_a_given_concurrency_is_the_limit_and_is_never_exceeded():
    rule = initial_limit(10)
    assert rule.allowed == 10
    accept(rule, 100)
    assert rule.allowed == 10
    rule = after_slow_start(9.9, ceiling=10)
    assert rule.allowed == 10


def test_a_tenth_that_is_refused_does_not_end_slow_start():
    rule = initial_limit(None)
    for number in range(2000):
        refuse(rule) if number % 10 == 9 else accept(rule)
    assert rule.allowed >= MOST_BY_ITSELF - 1
    refuse(rule)
    assert rule.allowed >= MOST_BY_ITSELF - 2


def test_more_than_chance_ends_slow_start():
    rule = initial_limit(None)
    accept(rule, 28)
    for _ in range(20):
        accept(rule)
        refuse(rule)
    assert not rule._starts


def test_then_each_accepted_submit_adds_an_eighth_and_a_refused_one_takes_an_eighth_of_the_limit():
    rule = after_slow_start(40.0)
    accept(rule, 8)
    assert rule.limit == pytest.approx(41)
    rule.submitted(1.0)
    refuse(rule)
    assert rule.limit == pytest.approx(41 * 7 / 8)


def test_a_small_limit_grows_by_a_share_of_itself():
    rule = after_slow_start(1.0)
    accept(rule)
    assert rule.limit == pytest.approx(1 + 1 / 64)


@pytest.mark.parametrize("cap", [1, 2, 8, 20])
def test_at_a_full_gateway_a_ninth_of_the_submits_is_refused_at_most(cap: int):
    rule, refused, sent = after_slow_start(float(cap)), 0, 0
    for at in range(3000):
        rule.submitted(float(at))
        sent += 1
        if rule.limit > cap:
            refuse(rule, float(at))
            refused += 1
        else:
            accept(rule)
    assert refused / sent <= 1 / 8


def test_refusals_of_one_round_trip_lower_the_limit_once():
    rule = after_slow_start(40.0)
    for at in range(1, 7):
        rule.submitted(float(at))
    for at in range(1, 7):
        refuse(rule, float(at))
    assert rule.limit == pytest.approx(35)
    rule.submitted(7.0)
    refuse(rule, 7.0)
    assert rule.limit == pytest.approx(35 * 7 / 8)


def test_a_share_that_polls_are_refused_too_does_not_lower_the_limit():
    rule = after_slow_start(256.0)
    for poll in range(3000):
        rule.requests.poll_answered(poll / 1000, is_refused=poll % 20 == 19)
    for at in range(1, 2000):
        rule.submitted(float(at))
        refuse(rule, float(at)) if at % 20 == 19 else accept(rule)
    assert rule.limit == 256
    tolerated = 0
    while rule.limit == 256:
        accept(rule)
        refuse(rule, float(2000 + tolerated))
        rule.submitted(float(2000 + tolerated))
        tolerated += 1
    assert tolerated <= 10


def test_a_gateway_that_refuses_all_is_asked_one_at_a_time():
    rule = ConcurrencyLimit(64, 64)
    for _ in range(SILENCE - 1):
        refuse(rule, in_flight=20)
    assert not rule.is_silent
    refuse(rule, in_flight=20)
    assert rule.is_silent
    assert rule.limit == 20
    assert rule.next_submit_at(1.0, unanswered=1) == math.inf
    assert rule.next_submit_at(1.0, unanswered=0) == 1 + PROBE_S
    for _ in range(50):
        refuse(rule, in_flight=3)
    assert rule.limit == 20
    accept(rule)
    assert not rule.is_silent


def test_after_a_silence_slow_start_begins_again():
    rule = initial_limit(None)
    for _ in range(500):
        refuse(rule, in_flight=0)
    assert rule.allowed == 1
    accept(rule, 40)
    assert rule.allowed == 41


def test_a_longer_wait_that_a_silent_gateway_asks_for_is_kept():
    rule = ConcurrencyLimit(64, 64)
    for _ in range(SILENCE):
        refuse(rule, asked_s=30.0)
    assert rule.next_submit_at(1.0, 0) == 31
    rule.ended(0.0, 1.0)
    assert rule.is_silent


def test_the_retry_after_of_a_single_refusal_holds_back_nothing_else():
    rule = ConcurrencyLimit(64, 64)
    refuse(rule, asked_s=3600.0)
    assert rule.next_submit_at(1.0, 0) == 1.0


def test_the_end_of_a_job_ends_a_silence_for_one_submit():
    rule = ConcurrencyLimit(64, 64)
    for _ in range(SILENCE + 3):
        refuse(rule)
    rule.ended(0.0, 1.0)
    assert not rule.is_silent
    refuse(rule)
    assert rule.is_silent


def test_after_slow_start_submits_are_spread_over_the_time_of_a_job():
    rule = ConcurrencyLimit(64, 64)
    rule.ended(0.0, 8.0)
    rule.submitted(10.0)
    assert rule.next_submit_at(10.0, 5) == 10.0
    rule._starts = False
    rule.limit = 16.0
    assert rule.next_submit_at(10.0, 5) == pytest.approx(10 + 8 / (16 * 9 / 8))


def test_a_limit_below_one_allows_one_job_with_pauses():
    rule = after_slow_start(0.5)
    rule.ended(0.0, 4.0)
    rule.submitted(10.0)
    assert rule.allowed == 1
    assert rule.next_submit_at(10.0, 0) == pytest.approx(10 + 8 * 8 / 9)
    for _ in range(SILENCE):
        refuse(rule, in_flight=0)
    assert rule.limit < 0.5


def test_the_time_of_jobs_is_learned_but_for_those_that_waited_through_a_silence():
    rule = after_slow_start(16.0)
    rule.ended(0.0, 1.0)
    rule.ended(0.5, 17.0)
    assert rule._job_s == pytest.approx(2.0)
    for _ in range(SILENCE):
        rule.refused(50.0, 49.0, 0.0, 4)
    rule.ended(45.0, 1000.0)
    assert rule._job_s == pytest.approx(2.0)
    rule.ended(51.0, 18.0)
    assert rule._job_s == pytest.approx(3.0)


def test_a_limited_rate_of_requests_holds_submits_back_too():
    rule = ConcurrencyLimit(64, 64)
    rule.requests.per_s = 2.0
    rule.submitted(10.0)
    rule.submitted(10.0)
    assert rule.next_submit_at(10.0, 0) > 10.4
    refuse(rule)
    assert rule.requests.per_s < 2.0


def test_above_64_the_limit_grows_only_while_no_job_is_queued():
    rule = ConcurrencyLimit(256, 4)
    for _ in range(200):
        accept(rule)
        rule.polled(JobStatus.QUEUED)
    assert rule.limit == MOST_QUEUED
    rule.polled(JobStatus.RUNNING)
    accept(rule, MOST_QUEUED + 2)
    assert rule.limit > MOST_QUEUED


@given(
    answers=st.lists(
        st.tuples(st.booleans(), st.integers(0, 300), st.floats(0, 100)), max_size=300
    ),
    ceiling=st.integers(1, 256),
)
def test_whatever_is_answered_the_limit_stays_within_its_bounds(answers, ceiling):
    rule = ConcurrencyLimit(ceiling, ceiling)
    for number, (is_refused, in_flight, asked_s) in enumerate(answers):
        rule.submitted(float(number))
        refuse(rule, float(number), asked_s, in_flight) if is_refused else accept(rule)
        assert 1 <= rule.allowed <= ceiling
        assert 0 < rule.limit <= ceiling
