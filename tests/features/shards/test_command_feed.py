"""A run on several machines asks for its commands, performs them, and buys only while it is
answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from crucible_batch.core.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.errors import ControlError, JournalError
from crucible_batch.features.shards import command_feed
from crucible_batch.features.shards.command_feed import CommandFeed
from crucible_batch.features.shards.command_rule import ASK_S, HEARD_S, GivenControl

ANNA = ControlSource("anna@host", "terminal")


def given(
    number: int, word: str, value: float | None = None, *, age_s: float = 0.0, names: Any = ()
) -> GivenControl:
    return GivenControl(
        number, ControlCommand(ControlAction(word), value, tuple(names)), ANNA, age_s
    )


@dataclass
class Desk:
    """The desk of a run: what was performed, and whether the run is held."""

    performed: list[ControlCommand] = field(default_factory=list)
    refuses: Exception | None = None
    is_suspended: bool = False
    in_flight: int = 7
    check: Callable[[], None] = lambda: None

    async def perform(self, command: ControlCommand, source: ControlSource) -> None:
        assert source == ANNA
        if self.refuses is not None:
            raise self.refuses
        self.performed.append(command)

    @property
    def control(self) -> Desk:
        """The desk stands for the control of its run as well, and for the run's pause."""
        return self

    pause = control

    def suspend(self, is_suspended: bool) -> None:
        self.is_suspended = is_suspended

    def before_each_purchase(self, check: Callable[[], None]) -> None:
        self.check = check


@dataclass
class Ground:
    """What stores the commands, a clock, and a feed.

    ``took_s`` is the time that an answer takes.
    """

    rows: list[GivenControl] = field(default_factory=list)
    taken: list[tuple[int, int]] = field(default_factory=list)
    is_away: bool = False
    took_s: float = 0.0
    now: float = 100.0
    desk: Any = field(default_factory=Desk)

    def __post_init__(self) -> None:
        self.feed = CommandFeed(
            self.take,
            monotonic=lambda: self.now,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        assert seconds == ASK_S
        self.now += seconds
        await asyncio.sleep(0)

    async def take(self, taken: int, in_flight: int) -> list[GivenControl]:
        found = [each for each in self.rows if each.number > taken]
        self.now += self.took_s
        if self.is_away:
            raise TimeoutError("it is away")
        self.taken.append((taken, in_flight))
        return found

    def actions(self) -> list[str]:
        return [command.action.value for command in self.desk.performed]


async def test_a_command_is_performed_and_then_acknowledged_with_the_jobs_in_flight() -> None:
    ground = Ground()
    await ground.feed.ask()
    async with ground.feed.on(ground.desk):
        ground.rows.append(given(1, "pause"))
        await ground.feed.ask()
        assert ground.actions() == ["pause"]
        assert ground.taken == [(0, 0), (0, 7), (1, 7)]
        await ground.feed.ask()
        assert ground.actions() == ["pause"]


async def test_a_run_that_is_claimed_in_a_pause_begins_paused() -> None:
    ground = Ground(rows=[given(1, "pause"), given(2, "concurrency", 3.0)])
    await ground.feed.ask()
    assert ground.taken[-1] == (
        2,
        0,
    )  # it can buy nothing before it has begun, and then it is paused
    async with ground.feed.on(ground.desk):
        assert ground.actions() == ["pause", "concurrency"]


async def test_what_is_given_while_a_run_is_prepared_is_performed_before_it_begins() -> None:
    ground = Ground(rows=[given(1, "pause")])
    await ground.feed.ask()
    ground.rows.append(given(2, "resume"))
    await ground.feed.ask()
    ground.rows.append(given(3, "pause"))
    await ground.feed.ask()
    async with ground.feed.on(ground.desk):
        assert ground.actions() == ["pause"]


async def test_a_deadline_counts_from_when_it_was_given() -> None:
    ground = Ground(rows=[given(1, "deadline", 60.0, age_s=20.0)])
    await ground.feed.ask()
    ground.now += 15
    async with ground.feed.on(ground.desk):
        assert [command.value for command in ground.desk.performed] == [25.0]
        ground.rows.append(given(2, "deadline", 60.0, age_s=70.0))
        await ground.feed.ask()
    assert [command.value for command in ground.desk.performed] == [25.0, 0.0]


async def test_a_run_is_suspended_while_its_questions_are_not_answered() -> None:
    ground = Ground()
    await ground.feed.ask()
    async with ground.feed.on(ground.desk):
        ground.now += HEARD_S - 0.01
        ground.desk.check()
        assert not ground.desk.is_suspended
        ground.now += 0.01
        ground.desk.check()  # right before a purchase
        assert ground.desk.is_suspended
        ground.is_away = True
        with pytest.raises(TimeoutError):
            await ground.feed.ask()
        assert ground.desk.is_suspended
        ground.is_away = False
        await ground.feed.ask()
        assert not ground.desk.is_suspended


async def test_an_answer_that_arrives_late_does_not_count_from_its_arrival() -> None:
    """A worker that was frozen reads an answer that was right before the pause."""
    ground = Ground(took_s=HEARD_S)
    await ground.feed.ask()
    async with ground.feed.on(ground.desk):
        ground.desk.check()
        assert ground.desk.is_suspended
        await ground.feed.ask()
        assert ground.desk.is_suspended


async def test_an_answer_that_would_be_too_late_is_not_awaited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command_feed, "HEARD_S", 0.01)
    ground = Ground()
    await ground.feed.ask()

    async def silent(_taken: int, _in_flight: int) -> list[GivenControl]:
        await asyncio.Event().wait()
        return []

    ground.feed._take = silent
    with pytest.raises(TimeoutError):
        await ground.feed.ask()


async def test_a_pause_that_can_not_be_journalled_is_not_acknowledged() -> None:
    ground = Ground()
    await ground.feed.ask()
    async with ground.feed.on(ground.desk):
        ground.rows.append(given(1, "pause"))
        ground.desk.refuses = JournalError("the disk is full")
        for _ in range(2):
            with pytest.raises(JournalError):
                await ground.feed.ask()
        assert {taken for taken, _ in ground.taken} == {0}
        ground.now += HEARD_S
        ground.desk.check()
        assert ground.desk.is_suspended


async def test_a_command_that_a_run_refuses_is_acknowledged() -> None:
    ground = Ground(rows=[given(1, "pause")])
    ground.desk.refuses = ControlError("it is stopping")
    await ground.feed.ask()
    async with ground.feed.on(ground.desk):
        await ground.feed.ask()
    assert ground.taken[-1][0] == 1


async def test_it_asks_until_it_is_cancelled_also_if_the_store_is_away() -> None:
    ground = Ground(is_away=True)
    asking = asyncio.ensure_future(ground.feed.keep())
    for _ in range(20):
        await asyncio.sleep(0)
    ground.is_away = False
    ground.rows.append(given(1, "pause"))
    for _ in range(20):
        await asyncio.sleep(0)
    asking.cancel()
    assert ground.taken[-1][0] == 1
    assert ASK_S * 2 < HEARD_S  # a question that is lost holds nothing
