"""The limit of concurrent jobs: its bounds, where it settles, and what it makes of strays, loads, waits and outages."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.domain.concurrency_limit import (
    FIRST_LIMIT,
    FIRST_MOST,
    MOST_BY_ITSELF,
    PROBE_S,
    STEP,
    ConcurrencyLimit,
    initial_limit,
)
from crucible_batch.domain.gateway_types import JobStatus
from crucible_batch.domain.refused_share import PACE, ROUND, SILENCE
from tests.case_table import each_case

concurrencies = st.none() | st.integers(1, 200)
# An accepted submit, or a refused one with the wait that it asks for and the jobs in flight, or a poll, or an end.
happenings = st.lists(
    st.just("accepted") | st.tuples(st.floats(0, 1000, allow_nan=False), st.integers(0, 300)) | st.booleans()
    | st.floats(0.01, 100, allow_nan=False),
    max_size=400,
)  # fmt: skip


def submits(limit: ConcurrencyLimit, count: int, is_refused: Callable[[int], bool], in_flight: int = 0) -> None:
    """Answer so many submits, of which ``is_refused`` says by their number which are refused."""
    for number in range(count):
        if is_refused(number):
            limit.refused(0.0, 0.0, 0.0, in_flight)
        else:
            limit.accepted(0.0)


def full(limit: ConcurrencyLimit, capacity: int, answers: int) -> tuple[list[int], int]:
    """Play a gateway that takes ``capacity`` jobs at once: each refused or accepted by whether there is room.

    One job ends between two submits, once the gateway is full. Returns the limit after each answer, and how many were
    refused.
    """
    limits, held, refused = [], 0, 0
    for _ in range(answers):
        if held < min(capacity, limit.allowed):
            limit.accepted(0.0)
            held += 1
        elif limit.allowed > capacity:
            limit.refused(0.0, 0.0, 0.0, held)
            refused += 1
            held -= 1
            limit.ended(0.0, 1.0)
        else:
            held -= 1
            limit.ended(0.0, 1.0)
            limit.accepted(0.0)
            held += 1
        limits.append(limit.allowed)
    return limits, refused


@given(concurrency=concurrencies, happenings=happenings)
def test_whatever_happens_the_limit_is_between_one_and_the_ceiling(concurrency, happenings):
    limit = initial_limit(concurrency)
    for happening in happenings:
        match happening:
            case "accepted":
                limit.accepted(0.0)
            case bool():
                limit.polled(JobStatus.QUEUED if happening else JobStatus.RUNNING)
            case float():
                limit.ended(0.0, happening)
            case (asked_s, in_flight):
                limit.refused(0.0, 0.0, asked_s, in_flight)
        assert 1 <= limit.allowed <= limit.ceiling == (concurrency or MOST_BY_ITSELF)
        assert 0 <= limit.chance <= 0.1


def test_by_itself_it_begins_low_and_doubles_with_each_round_and_then_grows_more_slowly_to_the_ceiling():
    limit = initial_limit(None)
    limits = [limit.allowed]
    while limit.allowed < limit.ceiling:
        submits(limit, limit.allowed, lambda _number: False)
        limits.append(limit.allowed)
    assert limits[:5] == [FIRST_LIMIT, 8, 16, 32, FIRST_MOST]
    assert limits[5:8] == [65, 67, 71]
    assert limits[-1] == MOST_BY_ITSELF


def test_a_number_that_was_named_is_there_from_the_beginning_and_never_exceeded():
    limit = initial_limit(24)
    assert limit.allowed == 24
    submits(limit, 100, lambda _number: False)
    assert limit.allowed == 24


def test_one_refusal_in_a_hundred_lowers_nothing():
    limit = initial_limit(64)
    submits(limit, 2000, lambda number: number % 100 == 50)
    assert limit.allowed == 64


@each_case("share", [0.01, 0.04, 0.1])
@each_case("concurrency", [None, 64])
def test_refusals_by_chance_leave_the_limit_high(share: float, concurrency: int | None):
    """By chance: at the same share whatever the limit. It is learned, and what it cost is given back."""
    limit, chance = initial_limit(concurrency), random.Random(1)
    seen = []
    for _ in range(6000):
        submits(limit, 1, lambda _number: chance.random() < share)
        seen.append(limit.allowed)
    assert sum(seen[2000:]) / len(seen[2000:]) >= 0.85 * limit.ceiling


@each_case("capacity", [1, 2, 8, 20, 60])
def test_a_gateway_with_room_for_so_many_is_used_and_refuses_few(capacity: int):
    limit = initial_limit(None)
    full(limit, capacity, 500)
    limits, refused = full(limit, capacity, 4000)
    assert sum(min(at, capacity) for at in limits) / len(limits) >= 0.9 * capacity
    assert refused / 4000 <= (0.15 if capacity <= 2 else 0.1)
    assert limit.chance < 0.03


def test_a_gateway_that_gets_more_room_is_used_again():
    limit = initial_limit(None)
    assert max(full(limit, 8, 1000)[0][500:]) <= 12
    assert max(full(limit, 64, 1500)[0]) >= 64


def test_what_a_lower_limit_ends_was_load_and_is_not_learned_as_chance():
    limit = initial_limit(64)
    submits(limit, 40, lambda number: number % 4 == 0)
    fallen = limit.allowed
    assert fallen <= 0.8 * 64
    submits(limit, 2 * ROUND, lambda _number: False)
    assert limit.chance < 0.01
    assert fallen < limit.allowed < 64


def test_more_than_chance_would_be_is_a_busy_gateway_whatever_the_limit():
    limit, chance = initial_limit(64), random.Random(2)
    submits(limit, 4000, lambda _number: chance.random() < 0.5)
    assert limit.allowed <= 2


def test_a_single_refusal_makes_nothing_else_wait():
    limit = initial_limit(64)
    limit.refused(10.0, 10.0, 3600.0, 20)
    assert limit.next_submit_at(10.0, 5) == 10.0


def test_a_gateway_that_refuses_all_gets_one_submit_at_a_time_and_none_before_the_wait_it_asks_for():
    limit = initial_limit(64)
    for _ in range(SILENCE):
        limit.refused(10.0, 10.0, 60.0, 5)
    assert limit.is_silent
    assert limit.next_submit_at(11.0, 1) == math.inf
    assert limit.next_submit_at(11.0, 0) == 70.0
    limit.refused(70.0, 70.0, 0.0, 5)
    assert limit.next_submit_at(70.0, 0) == 70.0 + PROBE_S


def test_after_an_outage_the_limit_is_what_the_gateway_held():
    limit = initial_limit(64)
    for _ in range(500):
        limit.refused(10.0, 10.0, 0.0, 60)
    limit.accepted(0.0)
    assert not limit.is_silent
    assert limit.allowed == 60


def test_an_end_is_room_at_a_full_gateway():
    limit = initial_limit(64)
    for _ in range(3 * SILENCE):
        limit.refused(10.0, 10.0, 0.0, 20)
    limit.ended(0.0, 60.0)
    assert not limit.is_silent
    limit.refused(11.0, 11.0, 60.0, 20)
    assert limit.is_silent
    limit.ended(0.0, 60.0)
    assert limit.next_submit_at(12.0, 0) == 71.0


def test_submits_are_spaced_over_the_time_of_a_job_once_the_limit_has_fallen():
    limit = initial_limit(20)
    limit.ended(0.0, 8.0)
    limit.submitted(100.0)
    assert limit.next_submit_at(100.0, 1) == 100.0
    submits(limit, 3, lambda _number: True)
    assert limit.next_submit_at(100.0, 1) == pytest.approx(100.0 + 8.0 / (PACE * limit.limit))


def test_a_limit_below_one_is_one_job_at_a_time_with_pauses():
    limit = initial_limit(4)
    limit.ended(0.0, 1.0)
    for _ in range(40):
        submits(limit, 4, lambda number: number != 0)
    assert limit.allowed == 1
    assert limit.limit < 1
    limit.submitted(50.0)
    assert limit.next_submit_at(50.0, 0) > 51.0


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.RUNNING])
def test_beyond_the_start_it_grows_only_while_no_job_is_queued_at_the_gateway(status: JobStatus):
    limit = initial_limit(None)
    for _ in range(2000):
        limit.polled(status)
        limit.accepted(0.0)
    assert limit.allowed == (FIRST_MOST if status is JobStatus.QUEUED else MOST_BY_ITSELF)


def test_a_fall_is_to_no_less_than_the_gateway_held_whenever_it_refused():
    for held, fallen in ((26, 26), (10, 24)):
        limit = initial_limit(30)
        limit.refused(0.0, 0.0, 0.0, 28)
        limit.refused(0.0, 0.0, 0.0, held)
        assert limit.allowed == fallen


def test_refusals_of_submits_that_were_sent_before_a_fall_do_not_lower_the_limit_again():
    limit = initial_limit(30)
    for number in range(4):
        limit.submitted(number / 10)
    for number in range(4):
        limit.refused(1.0, number / 10, 0.0, 0)
    assert limit.limit == pytest.approx(0.8 * 30)
    limit.submitted(2.0)
    limit.refused(3.0, 2.0, 0.0, 0)
    limit.refused(3.0, 2.0, 0.0, 0)
    assert limit.limit == pytest.approx(0.8 * 0.8 * 30)


@pytest.mark.parametrize(("limit_before", "fallen", "grown"), [(2, 1.6, 1.6 * (1 + STEP)), (30, 24, 25)])
def test_a_small_limit_grows_by_a_share_of_itself_and_a_larger_one_by_one(limit_before, fallen, grown):
    limit = initial_limit(None)
    limit.limit = float(limit_before)
    submits(limit, 2, lambda _number: True)
    assert limit.limit == pytest.approx(fallen)
    submits(limit, ROUND, lambda _number: False)
    assert limit.limit == pytest.approx(grown)


def test_a_limit_that_slow_start_only_passed_is_not_aimed_at():
    limit = initial_limit(None)
    submits(limit, 20, lambda _number: False)
    assert limit.allowed == 24
    submits(limit, 4, lambda _number: True)
    fallen = limit.limit
    submits(limit, ROUND, lambda _number: False)
    assert limit.limit == pytest.approx(fallen + 1)


def test_jobs_submitted_before_an_outage_do_not_slow_the_submits_after_it():
    limit = initial_limit(64)
    limit.ended(0.0, 2.0)
    for _ in range(SILENCE):
        limit.refused(600.0, 600.0, 0.0, 60)
    for _ in range(50):
        limit.ended(100.0, 500.0)
    limit.accepted(601.0)
    limit.submitted(601.0)
    assert limit.next_submit_at(601.0, 1) == pytest.approx(601.0 + 2.0 / (PACE * limit.limit))
    limit.ended(601.0, 18.0)
    assert limit.next_submit_at(601.0, 1) == pytest.approx(601.0 + 3.0 / (PACE * limit.limit))


def played(limit: ConcurrencyLimit, interval_s: float, burst: int, job_s: float) -> tuple[int, int]:
    """Play a gateway that takes a submit each ``interval_s``, and ``burst`` saved up, for 400 s.

    An answer arrives at once. Returns how many submits were accepted, and how many refused, in the second half.
    """
    now, tokens = 0.0, float(burst)
    ends: deque[float] = deque()
    answered = []
    while now < 400.0:
        at = max(limit.next_submit_at(now, 0), now + 0.001)
        if len(ends) >= limit.allowed:
            at = max(at, ends[0])
        tokens, now = min(burst, tokens + (at - now) / interval_s), at
        while ends and ends[0] <= now:
            limit.ended(ends.popleft() - job_s, job_s)
        limit.submitted(now)
        is_accepted = tokens >= 1
        if is_accepted:
            tokens -= 1
            ends.append(now + job_s)
            limit.accepted(now)
        else:
            limit.refused(now, now, 0.0, len(ends))
        answered += [is_accepted] if now > 200.0 else []
    return sum(answered), len(answered) - sum(answered)


@each_case("job_s", [0.1, 0.4, 1.0])
def test_a_gateway_without_bursts_is_used_and_refuses_few(job_s: float):
    accepted, refused = played(initial_limit(None), 0.05, 1, job_s)
    assert accepted >= 0.85 * 200.0 / 0.05
    assert refused <= 0.1 * (accepted + refused)


def test_a_gateway_with_bursts_has_no_interval():
    limit = initial_limit(None)
    accepted, _ = played(limit, 0.05, 20, 0.4)
    assert limit._interval.interval_s == 0.0
    assert accepted >= 0.85 * 200.0 / 0.05


def test_if_only_close_submits_were_refused_the_limit_is_restored_and_they_are_spaced_unless_that_changes_nothing():
    limit, now = initial_limit(30), 0.0
    limit.accepted(now)
    for sent_at in (0.1, 0.2):
        limit.submitted(sent_at)
        limit.refused(sent_at, sent_at, 0.0, 0)
    assert limit.allowed == 24
    for _ in range(ROUND):
        now += 1.0
        limit.submitted(now)
        limit.accepted(now)
    assert limit.allowed == 30
    assert limit.next_submit_at(now, 0) == now + 1.0
    for _ in range(2):
        now += 1.0
        limit.submitted(now)
        limit.refused(now, now, 0.0, 0)
    assert limit.allowed == 24
    assert limit.next_submit_at(now, 0) == now


def test_jobs_that_the_gateway_held_in_an_earlier_round_do_not_count_in_a_fall():
    limit = initial_limit(30)
    limit.refused(0.0, 0.0, 0.0, 5)
    submits(limit, ROUND, lambda _number: False)
    limit.refused(0.0, 0.0, 0.0, 28)
    limit.refused(0.0, 0.0, 0.0, 26)
    assert limit.allowed == 26
