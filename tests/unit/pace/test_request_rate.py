"""The rate of requests of all kinds: limited once polls are refused by more than chance, and found
again.
"""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.pace.request_rate import LEAST_PER_S, RequestRate
from tests.harness.case_table import each_case


def limited(per_s: float, now: float = 0.0) -> RequestRate:
    rate = RequestRate()
    rate.poll_answered(now, is_refused=False)
    rate._sent_per_s = per_s
    rate.per_s = per_s
    return rate


def demanding(rate: RequestRate, until: float, most_per_s: float, is_refused) -> list[bool]:
    """Send polls as fast as the rate allows, but no more than so many a second; ``is_refused(now)``
    answers each."""
    now, answers = 0.0, []
    while now < until:
        rate.sent(now)
        answers.append(is_refused(now))
        rate.poll_answered(now, is_refused=answers[-1])
        now = max(rate.next_at(now), now + 1 / most_per_s)
    return answers


def bucket_of(per_s: float):
    """A token bucket of one second."""
    tokens, before = per_s, 0.0

    def is_refused(now: float) -> bool:
        nonlocal tokens, before
        tokens, before = min(per_s, tokens + (now - before) * per_s), now
        if tokens < 1:
            return True
        tokens -= 1
        return False

    return is_refused


def test_as_long_as_no_poll_is_refused_nothing_waits():
    rate = RequestRate()
    demanding(rate, 5.0, 100, lambda _now: False)
    assert rate.per_s == math.inf
    assert rate.next_at(5.0) == 5.0


def test_a_tenth_that_is_refused_limits_nothing():
    rate, number = RequestRate(), itertools.count()
    demanding(rate, 60.0, 100, lambda _now: next(number) % 10 == 9)
    assert rate.per_s == math.inf
    assert 0.08 < rate.refused_share < 0.12


@each_case("per_s", [5.0, 60.0, 500.0])
def test_of_a_gateway_with_a_limit_nearly_all_is_used_and_a_ninth_is_refused(per_s: float):
    rate = RequestRate()
    answers = demanding(rate, 60.0, 4 * per_s, bucket_of(per_s))
    later = answers[len(answers) // 2 :]
    assert sum(later) / len(later) < 0.15
    assert rate.per_s == pytest.approx(per_s, rel=0.3)
    assert answers.count(False) > 0.9 * per_s * 60


def test_requests_are_spaced_evenly_but_for_what_a_late_timer_missed():
    rate = limited(10.0)
    rate.sent(1.0)
    assert rate.next_at(1.0) == pytest.approx(1.05)
    rate.sent(1.05)
    rate.sent(1.15)
    assert rate.next_at(1.15) == pytest.approx(1.25)


def test_a_refused_request_takes_one_and_an_accepted_poll_adds_an_eighth():
    rate = limited(80.0)
    rate.poll_answered(0.1, is_refused=True)
    assert rate.per_s == pytest.approx(79)
    rate.submit_refused()
    assert rate.per_s == pytest.approx(78)
    rate.poll_answered(0.2, is_refused=False)
    assert rate.per_s == pytest.approx(78 + 1 / 8)


def test_below_eight_a_second_steps_are_shares_and_a_least_rate_remains():
    rate = limited(4.0)
    rate.poll_answered(0.1, is_refused=True)
    assert rate.per_s == pytest.approx(3.5)
    for _ in range(100):
        rate.submit_refused()
    assert rate.per_s == LEAST_PER_S


def test_a_refused_submit_alone_limits_nothing():
    rate = RequestRate()
    for _ in range(100):
        rate.submit_refused()
    assert rate.per_s == math.inf


def test_a_rate_of_which_less_than_half_is_used_is_no_limit():
    rate = limited(80.0)
    rate._sent_per_s = 30.0
    rate.poll_answered(0.1, is_refused=False)
    assert rate.per_s == math.inf
    assert rate.next_at(0.1) == 0.1


def test_an_outage_lowers_nothing_and_is_forgotten():
    rate = RequestRate()
    demanding(rate, 10.0, 100, lambda now: 3.0 <= now < 8.0)
    assert rate.per_s == math.inf
    assert rate.refused_share < 0.01


def test_a_long_outage_does_not_lower_a_limited_rate_further():
    rate = limited(80.0)
    for refusal in range(1000):
        rate.poll_answered(2.0 + refusal, is_refused=True)
    assert rate.per_s == 80


@given(answers=st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=200))
def test_whatever_is_answered_a_poll_may_be_sent_in_the_end(answers):
    rate, now = RequestRate(), 0.0
    for wait_s, is_refused in answers:
        now = max(now + wait_s, rate.next_at(now))
        rate.sent(now)
        rate.poll_answered(now, is_refused=is_refused)
        assert rate.next_at(now) <= now + 1 / LEAST_PER_S
