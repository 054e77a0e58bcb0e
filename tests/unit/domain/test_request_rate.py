"""The rate of all requests: what limits it, what shows that it is chance, how it grows, and what does not count."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable

import pytest

from crucible_batch.domain.concurrency_limit import ConcurrencyLimit
from crucible_batch.domain.in_flight_queue import SHORTEST_S
from crucible_batch.domain.poll_scheduler import PollScheduler
from crucible_batch.domain.refused_share import FALL, ROUND, SILENCE, TOLERATED, is_more_than, is_unchanged
from crucible_batch.domain.request_rate import MEMORY_S, SECOND_S, RequestRate
from crucible_batch.domain.service_times import ServiceTimes
from tests.case_table import each_case


def polls(rate: RequestRate, per_s: float, is_refused: Callable[[int], bool], begin: float, count: int) -> float:
    """Answer ``count`` polls, so many a second. The last is accepted, since a round ends with one. Return the end."""
    for number in range(count):
        now = begin + number / per_s
        rate.poll_answered(now, now, is_refused=number < count - 1 and is_refused(number))
    return begin + count / per_s


def every(number: int) -> Callable[[int], bool]:
    return lambda at: at % number == 0


def never(_number: int) -> bool:
    return False


def limited(per_s: float = 100.0) -> tuple[RequestRate, float]:
    """Return a rate after a clean round and one in which a tenth was refused, and when answers count again."""
    rate = RequestRate()
    end = polls(rate, per_s, never, 0.0, int(per_s) + 1)
    end = polls(rate, per_s, every(10), end, int(per_s) + 1)
    return rate, end + SECOND_S


def bucket(limit_per_s: float, burst: float, demand: int, until_s: float) -> tuple[RequestRate, int, int]:
    """Play a token bucket, and so many polls that each come again 10 ms after an answer.

    Returns the rate, and how many polls were accepted and refused in the second half.
    """
    rate, tokens, then = RequestRate(), burst, 0.0
    due = deque((0.0, number) for number in range(demand))
    accepted = refused = 0
    while True:
        at, number = due.popleft()
        now = max(rate.next_at(at), then)
        if now > until_s:
            return rate, accepted, refused
        rate.sent(now)
        tokens, then = min(burst, tokens + (now - then) * limit_per_s), now
        is_refused = tokens < 1
        tokens -= not is_refused
        rate.poll_answered(now, now, is_refused=is_refused)
        if now > until_s / 2:
            accepted, refused = accepted + (not is_refused), refused + is_refused
        due.append((now + 0.01, number))


@each_case("limit_per_s", [5.0, 60.0, 500.0])
def test_a_limit_of_requests_is_used_and_refuses_few(limit_per_s: float):
    _, accepted, refused = bucket(limit_per_s, limit_per_s, 40, 200.0)
    assert accepted >= 0.9 * limit_per_s * 100
    assert refused <= 0.06 * (accepted + refused)


def test_nothing_is_spaced_as_long_as_no_more_polls_are_refused_than_tolerated():
    rate = RequestRate()
    polls(rate, 100.0, every(50), 0.0, 500)
    assert rate.per_s == math.inf
    rate.sent(6.0)
    assert rate.next_at(6.0) == 6.0


def test_a_share_above_that_limits_requests_to_a_part_of_what_was_accepted():
    rate, _ = limited(100.0)
    assert rate.per_s == pytest.approx(FALL * 96, rel=0.02)


def test_accepted_submits_are_part_of_what_was_accepted_and_refused_ones_are_not():
    rate = RequestRate()
    for number in range(101):
        now = number / 100
        rate.submit_answered(now, is_refused=False)
        rate.submit_answered(now, is_refused=True)
        rate.poll_answered(now, now, is_refused=number % 4 == 1)
    assert rate.per_s == pytest.approx(FALL * 177, rel=0.02)


def test_a_share_that_does_not_fall_with_the_rate_is_chance_and_limits_nothing_from_then_on():
    rate, end = limited()
    end = polls(rate, 80.0, every(10), end, 81)
    assert (rate.per_s, rate.chance) == (math.inf, pytest.approx(0.1, abs=0.02))
    polls(rate, 100.0, every(10), end, 1000)
    assert rate.per_s == math.inf


def test_a_share_that_falls_with_the_rate_is_a_limit_which_is_approached_by_growing_steps():
    rate, end = limited()
    seen = []
    for _ in range(5):
        end = polls(rate, rate.per_s, never, end, math.ceil(rate.per_s) + 1)
        seen.append(rate.per_s)
    assert seen[0] == pytest.approx(96, rel=0.02)
    steps = [after - before for before, after in itertools.pairwise(seen)]
    assert steps == pytest.approx([96 / ROUND * times for times in (1, 2, 4, 8)], rel=0.02)


def test_a_share_of_more_accepted_requests_than_before_is_chance():
    rate = RequestRate()
    end = polls(rate, 100.0, every(10), 0.0, 101)
    assert (rate.per_s, rate.chance) == (math.inf, pytest.approx(0.1, abs=0.02))
    polls(rate, 200.0, every(6), end, 201)
    assert rate.per_s == math.inf
    polls(rate := RequestRate(), 100.0, every(4), 0.0, 101)
    assert rate.per_s < 100


def test_more_than_chance_would_be_limits_the_rate_further_in_the_test_as_well():
    rate, end = limited()
    polls(rate, 80.0, every(2), end, 81)
    assert rate.per_s == pytest.approx(FALL * 40, rel=0.05)


def test_a_rate_that_is_not_used_is_no_longer_limited():
    rate, end = limited()
    end = polls(rate, rate.per_s, never, end, 100)
    for _ in range(10):
        rate.sent(end)
    polls(rate, 40.0, never, end, 60)
    assert rate.per_s == math.inf
    assert rate.next_at(end) == end


def test_a_round_takes_a_second_and_a_number_of_polls():
    rate = RequestRate()
    polls(rate, 1000.0, every(2), 0.0, 900)
    assert rate.per_s == math.inf
    polls(rate := RequestRate(), 10.0, every(2), 0.0, ROUND - 1)
    assert rate.per_s == math.inf
    polls(rate := RequestRate(), 10.0, every(2), 0.0, ROUND)
    assert rate.per_s < 10.0


def test_what_was_delivered_is_averaged_over_the_latest_seconds_alone():
    rate, end = RequestRate(), 0.0
    for _ in range(40):
        end = polls(rate, 10.0, never, end, ROUND)
    for _ in range(math.ceil(MEMORY_S)):
        end = polls(rate, 100.0, never, end, 101)
    polls(rate, 100.0, every(10), end, 101)
    assert rate.per_s == pytest.approx(FALL * 100, rel=0.03)


@pytest.mark.parametrize("sent_at", [0.5, 2.9])
def test_answers_to_requests_that_were_sent_before_a_fall_or_within_a_second_of_it_do_not_count(sent_at: float):
    rate, end = limited()
    for _ in range(100):
        rate.poll_answered(end, sent_at, is_refused=True)
        rate.submit_answered(sent_at, is_refused=False)
    polls(rate, 80.0, every(10), end, 81)
    assert (rate.per_s, rate.chance) == (math.inf, pytest.approx(0.1, abs=0.02))


def test_submits_that_were_sent_before_a_fall_are_not_part_of_what_was_accepted():
    rate, end = limited()
    for _ in range(1000):
        rate.submit_answered(0.5, is_refused=False)
    polls(rate, 80.0, every(2), end, 81)
    assert rate.per_s == pytest.approx(FALL * 40, rel=0.05)


def test_an_outage_limits_nothing():
    rate = RequestRate()
    end = polls(rate, 100.0, never, 0.0, 50)
    for number in range(300):
        rate.poll_answered(end + number / 100, end + number / 100, is_refused=True)
    polls(rate, 100.0, never, end + 3.0, 200)
    assert rate.per_s == math.inf


@pytest.mark.parametrize("refusals", [SILENCE - 1, SILENCE])
def test_refusals_in_a_row_within_a_second_are_not_an_outage(refusals: int):
    rate = RequestRate()
    polls(rate, 100.0, lambda number: 20 <= number < 20 + refusals, polls(rate, 100.0, never, 0.0, 101), 102)
    assert rate.per_s < 100


def test_requests_are_spaced_evenly_and_those_that_are_late_may_catch_up_a_little():
    rate, end = limited()
    sent, now = [], end + 1
    while now < end + 2:
        sent.append(now)
        rate.sent(now)
        now = rate.next_at(now)
    step_s = 1 / rate.per_s
    late = math.ceil(SHORTEST_S / step_s)
    assert sent[:late] == [end + 1] * late
    assert [after - before for before, after in itertools.pairwise(sent[late:])] == pytest.approx(
        [step_s] * (len(sent) - late - 1)
    )


@each_case(
    "chance, refusals, count, is_over",
    [(0.0, 1, ROUND, False), (0.0, 2, ROUND, True), (0.0, 4, 100, False), (0.0, 5, 100, True),
     (0.1, 15, 100, False), (0.1, 16, 100, True)],
)  # fmt: skip
def test_a_share_is_compared_with_chance_its_noise_and_what_is_tolerated(
    chance: float, refusals: int, count: int, is_over: bool
):
    assert is_more_than(chance, refusals, count) is is_over
    assert TOLERATED == 0.04


def test_a_share_is_unchanged_above_half_of_it_unless_the_gateway_is_busy():
    assert is_unchanged(0.1, 0.051)
    assert not is_unchanged(0.1, 0.05)
    assert not is_unchanged(0.3, 0.21)


def test_submits_and_polls_are_spaced_together():
    limit = ConcurrencyLimit(30, 30)
    polls(limit.requests, 10.0, every(2), 0.0, ROUND)
    step = 1 / limit.requests.per_s
    scheduler = PollScheduler(ServiceTimes(), requests=limit.requests)
    for _ in range(2):
        scheduler.add("a", 0.0, timeout_s=1000.0, is_due_now=True)
    limit.submitted(20.0)
    at = limit.requests.next_at(20.0)
    assert at == pytest.approx(20.0 + step, abs=0.06)
    assert scheduler.take(20.0) is None
    assert scheduler.next_at(20.0) == at
    assert scheduler.take(at) is not None
    assert limit.next_submit_at(at, 0) == pytest.approx(at + step)
    assert scheduler.reserve(at) == pytest.approx(at + step)
    assert limit.next_submit_at(at, 0) == pytest.approx(at + 2 * step)


def test_submits_refused_as_often_as_polls_do_not_lower_the_limit_of_jobs():
    for polls_refused, is_lower in ((True, False), (False, True)):
        limit = ConcurrencyLimit(64, 64)
        for number in range(200):
            limit.requests.poll_answered(0.0, 0.0, is_refused=polls_refused and number % 10 == 0)
        for number in range(30):
            if number % 10 == 0:
                limit.refused(0.0, 0.0, 0.0, 0)
            else:
                limit.accepted(0.0)
        assert (limit.allowed < 64) is is_lower


def test_chance_follows_the_share_of_rounds_that_limit_nothing():
    rate = RequestRate()
    end = polls(rate, 100.0, every(10), 0.0, 101)
    learned = rate.chance
    polls(rate, 100.0, never, end, 101)
    assert rate.chance == pytest.approx(7 / 8 * learned)


def test_the_submits_that_a_limit_of_jobs_counts_as_accepted_were_delivered():
    rates = []
    for submits in (0, 100):
        limit = ConcurrencyLimit(200, 200)
        limit.requests.poll_answered(0.0, 0.0, is_refused=False)  # a round begins with a poll
        for _ in range(submits):
            limit.accepted(0.0)
        polls(limit.requests, 100.0, every(4), 0.0, 101)
        rates.append(limit.requests.per_s)
    assert rates[1] - rates[0] == pytest.approx(FALL * 100, rel=0.02)
