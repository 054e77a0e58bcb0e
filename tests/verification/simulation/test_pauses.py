"""What the judge allows to leave in a pause."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.verification.simulation.pauses import Pauses
from tests.verification.simulation.virtual_time import VirtualLoop, true_now


def _played(play: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(play)


def judged(
    *, key: str, is_in_doubt: bool | None, is_final: bool = False, resumes: bool = False
) -> list[str]:
    """Let a request leave before a pause, unless ``is_in_doubt`` is None, and again in it."""
    broken: list[str] = []

    async def play() -> None:
        pauses = Pauses(broken.append)
        pauses.born()
        if is_in_doubt is not None:
            pauses.leaves(key, "a job")
            pauses.failed(key, in_doubt=is_in_doubt)
        pauses.begin(is_final=is_final)
        if resumes:
            pauses.end()
        pauses.leaves(key, "a job")

    _played(play())
    return broken


def test_only_what_left_before_without_an_answer_may_leave_again() -> None:
    assert judged(key="k", is_in_doubt=True) == []
    assert len(judged(key="k", is_in_doubt=False)) == 1
    assert len(judged(key="k", is_in_doubt=None)) == 1


@pytest.mark.parametrize(("answers", "may_leave"), [((True, False), True), ((False, False), False)])
def test_a_refusal_of_a_later_try_does_not_show_that_the_first_bought_nothing(
    answers: tuple[bool, ...], may_leave: bool
) -> None:
    broken: list[str] = []

    async def play() -> None:
        pauses = Pauses(broken.append)
        pauses.born()
        for in_doubt in answers:
            pauses.leaves("k", "a job")
            pauses.failed("k", in_doubt=in_doubt)
        pauses.begin(is_final=False)
        pauses.leaves("k", "a job")

    _played(play())
    assert (broken == []) is may_leave


def test_a_resume_ends_a_pause_and_no_stop() -> None:
    assert judged(key="k", is_in_doubt=None, resumes=True) == []
    assert len(judged(key="k", is_in_doubt=None, resumes=True, is_final=True)) == 1


def test_what_an_earlier_process_left_in_doubt_waits_for_the_end_of_the_pause() -> None:
    broken: list[str] = []

    async def play() -> None:
        pauses = Pauses(broken.append)
        pauses.leaves("k", "a job")
        pauses.failed("k", in_doubt=True)
        pauses.born()
        pauses.begin(is_final=False)
        pauses.leaves("k", "a job")

    _played(play())
    assert len(broken) == 1


def test_a_row_of_the_ledger_in_a_pause_is_of_a_request_that_left_before_it() -> None:
    broken: list[str] = []

    async def play() -> None:
        pauses = Pauses(broken.append)
        pauses.leaves("before", "a job")
        await asyncio.sleep(0.01)
        pauses.begin(is_final=False)
        await asyncio.sleep(0.01)
        pauses.leaves("meanwhile", "a job")
        broken.clear()
        for key in ("before", "meanwhile"):
            pauses.charged(key, true_now() + 0.01, key)

    _played(play())
    assert broken == ["meanwhile was bought in a pause"]
