"""An outage: when it is on, how long it has lasted, and what is reported of it."""

from __future__ import annotations

from crucible_batch.core.outage import FIRST_TOLD_S, TOLD_EVERY_S, Outage


def test_an_outage_lasts_from_the_first_request_without_an_answer_to_the_next_answer() -> None:
    outage = Outage()
    assert not outage.is_on
    outage.unanswered(10.0)
    outage.unanswered(12.0)
    assert outage.is_on
    assert (outage.lasted_s(15.0), outage.total_s(15.0)) == (5.0, 5.0)
    outage.answered(16.0)
    assert not outage.is_on
    assert (outage.lasted_s(99.0), outage.total_s(99.0)) == (0.0, 6.0)


def test_outages_are_numbered_and_their_time_is_added_up() -> None:
    outage = Outage()
    for began, ended in ((1.0, 3.0), (10.0, 15.0)):
        outage.unanswered(began)
        outage.answered(ended)
        outage.answered(ended + 1)
    assert (outage.number, outage.total_s(20.0)) == (2, 7.0)


def test_an_answer_ends_that_it_was_given_up() -> None:
    outage = Outage()
    outage.unanswered(0.0)
    outage.is_given_up = True
    outage.answered(1.0)
    assert not outage.is_given_up


def test_it_is_reported_once_a_minute_and_at_its_end() -> None:
    told: list[tuple[float, str | None]] = []
    outage = Outage(lambda lasted_s, reason: told.append((lasted_s, reason)))
    outage.unanswered(100.0)
    for second in range(130):
        outage.waiting(100.0 + second, "no answer")
    outage.answered(230.0)
    first = FIRST_TOLD_S
    assert told == [
        (first, "no answer"),
        (first + TOLD_EVERY_S, "no answer"),
        (first + 2 * TOLD_EVERY_S, "no answer"),
        (130.0, None),
    ]


def test_one_that_ends_soon_is_not_reported() -> None:
    told: list[tuple[float, str | None]] = []
    outage = Outage(lambda lasted_s, reason: told.append((lasted_s, reason)))
    outage.unanswered(0.0)
    outage.waiting(1.0, "no answer")
    outage.answered(2.0)
    assert told == []
