"""Which commands of a cluster's database are performed, how long they last, and until when a worker
may buy."""

from __future__ import annotations

from crucible_batch.core.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.features.shards.command_rule import (
    GivenControl,
    due,
    is_stopped,
    may_buy,
    pause_given,
)
from tests.harness.case_table import each_case

ANNA = ControlSource("anna@host", "terminal")


def given(*words: str) -> list[GivenControl]:
    """Commands in their order. One with ``!`` was given before the newest coordinator has begun."""
    return [
        GivenControl(
            number,
            ControlCommand(ControlAction(word.strip("!")), float(number)),
            ANNA,
            10.0 - number,
            "!" not in word,
        )
        for number, word in enumerate(words, 1)
    ]


def numbers(found: list[GivenControl]) -> list[int]:
    return [each.number for each in found]


@each_case("age_s, answer", [(0.0, True), (2.9, True), (3.0, False), (3600.0, False)])
def test_a_worker_may_buy_for_three_seconds_after_a_question_that_was_answered(
    age_s: float, answer: bool
) -> None:
    assert may_buy(100.0, 100.0 + age_s) is answer
    assert not may_buy(float("-inf"), 0.0)


@each_case(
    "words, number",
    [
        ((), None),
        (("resume",), None),
        (("pause",), 1),
        (("pause", "stop", "pause"), 1),
        (("pause", "resume"), None),
        (("pause", "resume", "pause"), 3),
        (("pause!",), 1),
        (("pause!", "resume!", "concurrency"), None),
    ],
)
def test_a_pause_lasts_until_resume_whatever_was_started_again(
    words: tuple[str, ...], number: int | None
) -> None:
    found = pause_given(given(*words))
    assert (None if found is None else found.number) == number


def test_a_stop_ends_with_the_next_coordinator() -> None:
    assert is_stopped(given("pause", "stop"))
    assert not is_stopped(given("pause", "stop!"))


@each_case(
    "words, performed",
    [
        (("pause",), [1]),
        (("pause", "resume", "pause"), [3]),  # never the resume: something would be bought
        (("pause", "resume"), [2]),
        (("concurrency", "concurrency", "deadline", "deadline"), [2, 4]),
        (("retry", "retry"), [1, 2]),
        (("stop!", "concurrency!", "deadline!", "retry!", "pause!"), [5]),
        (("pause", "concurrency", "resume", "stop"), [2, 3, 4]),
        (("stop", "resume"), [2]),
    ],
)
def test_of_commands_read_together_the_newest_of_each_kind_is_performed(
    words: tuple[str, ...], performed: list[int]
) -> None:
    assert numbers(due(given(*words), is_beginning=False)) == performed


@each_case(
    "words, performed",
    [
        (("pause",), [1]),
        (("pause!",), [1]),
        (("pause", "resume"), []),
        (("retry", "concurrency", "stop"), [2, 3]),
        (("stop!", "deadline"), [2]),
        (("stop",), [1]),
        (("stop", "resume"), []),
    ],
)
def test_a_run_begins_with_what_still_lasts(words: tuple[str, ...], performed: list[int]) -> None:
    assert numbers(due(given(*words), is_beginning=True)) == performed
