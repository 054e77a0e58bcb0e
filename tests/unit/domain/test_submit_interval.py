"""The interval between submits: when it is learned, that it becomes shorter, and that it has to prove itself."""

from __future__ import annotations

import pytest

from crucible_batch.domain.submit_interval import FEWEST, SubmitInterval


def answers(interval: SubmitInterval, gaps: list[tuple[float, bool]], begin: float = 0.0) -> float:
    """Answer submits, each with its gap to the accepted one before it and whether it is refused. Return the end."""
    interval.answered(begin, is_refused=False)
    for gap_s, is_refused in gaps:
        interval.answered(begin + gap_s, is_refused=is_refused)
        begin += 0.0 if is_refused else gap_s
    return begin


def spaced(count: int = FEWEST) -> list[tuple[float, bool]]:
    return [(1.0 + number / 100, False) for number in range(count)]


def test_it_is_the_shortest_gap_of_an_accepted_submit_if_all_refused_ones_were_closer():
    interval = SubmitInterval()
    answers(interval, [(0.5, True), *spaced(), (0.9, True)])
    assert interval.interval_s == 0.0
    assert interval.learn()
    assert interval.interval_s == pytest.approx(1.0)


@pytest.mark.parametrize(
    "gaps",
    [
        [(0.5, True), *spaced()],
        [(0.5, True), (0.9, True), *spaced(FEWEST - 1)],
        [(0.5, True), (1.005, True), *spaced()],
        [(0.5, True), (0.9, True), (0.8, False), *spaced()],
        spaced(),
    ],
    ids=["one refused", "few accepted", "a refused one was not close", "a close one was accepted", "none refused"],
)
def test_it_is_not_learned_otherwise(gaps: list[tuple[float, bool]]):
    interval = SubmitInterval()
    answers(interval, gaps)
    assert not interval.learn()
    assert interval.interval_s == 0.0


def test_nothing_is_known_of_the_gap_before_the_first_accepted_submit():
    interval = SubmitInterval()
    interval.answered(-5.0, is_refused=True)
    answers(interval, [(0.5, True), (0.9, True), *spaced()])
    assert interval.learn()


def test_it_is_searched_between_the_gaps_and_then_becomes_a_little_shorter():
    interval = SubmitInterval()
    answers(interval, [(0.01, True), (0.04, True), *spaced()])
    interval.learn()
    seen = []
    for _ in range(12):
        interval.passed()
        seen.append(interval.interval_s)
    assert seen[:3] == pytest.approx([0.2, (0.2 * 0.04) ** 0.5, ((0.2 * 0.04) ** 0.5 * 0.04) ** 0.5])
    assert seen[-1] == pytest.approx(0.98 * seen[-2])
    assert 0.03 < seen[-1] < 0.04


def test_gaps_of_no_time_do_not_end_the_search_at_once():
    interval = SubmitInterval()
    answers(interval, [(0.0, True), (0.0, True), *spaced()])
    interval.learn()
    interval.passed()
    assert interval.interval_s == pytest.approx(0.001**0.5)


def test_after_a_round_it_is_learned_again():
    interval = SubmitInterval()
    end = answers(interval, [(0.5, True), (0.9, True), *spaced()])
    interval.learn()
    interval.passed()
    answers(interval, [(0.96, True), (0.97, True), *((gap_s + 0.1, False) for gap_s, _ in spaced())], end + 5)
    assert interval.learn()
    assert interval.interval_s == pytest.approx(1.1)


def test_one_that_does_not_help_is_dropped_for_good():
    interval = SubmitInterval()
    end = answers(interval, [(0.5, True), (0.9, True), *spaced()])
    interval.learn()
    interval.failed()
    assert interval.interval_s == 0.0
    answers(interval, [(0.5, True), (0.9, True), *spaced()], end + 5)
    assert not interval.learn()


def test_one_that_has_helped_outlasts_a_fall():
    interval = SubmitInterval()
    answers(interval, [(0.5, True), (0.9, True), *spaced()])
    interval.learn()
    interval.passed()
    interval.failed()
    assert interval.interval_s == pytest.approx(0.9**0.5)
