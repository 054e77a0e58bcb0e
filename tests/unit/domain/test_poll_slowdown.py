"""How polls are spaced while the gateway refuses them: what slows them, what takes it back, and what doesn't count."""

from __future__ import annotations

import pytest

from crucible_batch.domain.concurrency_limit import ROUND, ConcurrencyLimit
from crucible_batch.domain.poll_scheduler import PollScheduler
from crucible_batch.domain.poll_slowdown import MORE, MOST, PollSlowdown
from crucible_batch.domain.service_times import ServiceTimes


def polled(polls: PollSlowdown, answers: int, refusals: int) -> None:
    for number in range(answers):
        polls.answered(is_refused=number < refusals)


@pytest.mark.parametrize(
    ("answers", "refusals", "factor"),
    [(10, 5, MORE), (10, 1, 1.0), (100, 4, 1.0), (100, 5, MORE), (10, 0, 1.0), (0, 0, 1.0)],
)
def test_a_fall_slows_polls_if_more_of_them_were_refused_than_tolerated(answers: int, refusals: int, factor: float):
    polls = PollSlowdown()
    polled(polls, answers, refusals)
    polls.fell(0.04, is_first=True)
    assert polls.factor == factor


def test_refusals_count_once():
    polls = PollSlowdown()
    polled(polls, 10, 5)
    polls.fell(0.04, is_first=True)
    polls.fell(0.04, is_first=False)
    assert polls.factor == MORE


def test_it_ends_at_the_most_and_goes_back_to_one():
    polls = PollSlowdown()
    for _ in range(20):
        polled(polls, 10, 5)
        polls.fell(0.04, is_first=False)
    assert polls.factor == MOST
    for _ in range(100):
        polls.passed()
    assert polls.factor == 1.0


def test_what_falls_have_added_is_taken_back_with_them():
    polls = PollSlowdown()
    for is_first in (True, False):
        polled(polls, 10, 5)
        polls.fell(0.04, is_first=is_first)
    polls.restored()
    assert polls.factor == 1.0
    polled(polls, 10, 5)
    polls.fell(0.04, is_first=True)
    assert polls.factor == MORE


def test_the_limit_passes_on_its_falls_and_its_rounds():
    limit = ConcurrencyLimit(30, 30)
    polled(limit.polls, 10, 5)
    for _ in range(2):
        limit.refused(0.0, 0.0, 0.0, 0)
    assert limit.polls.factor == MORE
    for _ in range(ROUND):
        limit.accepted(0.0)
    assert limit.polls.factor == pytest.approx(0.9 * MORE)


def test_what_was_chance_slows_no_polls():
    limit = ConcurrencyLimit(30, 30)
    factors = []
    for number in range(60):
        limit.polls.answered(is_refused=number % 10 == 4)
        if number % 10 == 5:
            limit.refused(0.0, 0.0, 0.0, 0)
        else:
            limit.accepted(0.0)
        factors.append(limit.polls.factor)
    assert max(factors) == MORE
    assert limit.chance > 0.05
    assert factors[-1] == 1.0


def test_polls_are_spaced_by_the_factor():
    polls = PollSlowdown()
    scheduler = PollScheduler(ServiceTimes(), slowdown=lambda: polls.factor)
    for _ in range(4):
        scheduler.add("a", 0.0, timeout_s=1000.0)
    before = scheduler.polls_per_s(20.0)
    polls.factor = 4.0
    assert scheduler.polls_per_s(20.0) == pytest.approx(before / 4)


def test_all_falls_since_the_limit_last_grew_are_taken_back():
    limit = ConcurrencyLimit(30, 30)
    for factor in (MORE, MORE * MORE):
        polled(limit.polls, 10, 5)
        for _ in range(2):
            limit.refused(0.0, 0.0, 0.0, 0)
        assert limit.polls.factor == factor
    limit._restore()
    assert limit.polls.factor == 1.0
