"""What a run on a cluster shows of the commands that it is given, and the deadline that its coordinator takes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crucible_batch.api.cluster_progress import RunProgress
from crucible_batch.api.request import JobFilter
from crucible_batch.domain.cluster_control import GivenControl, deadline_given
from crucible_batch.domain.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.domain.progress import Controlled, Message

SOURCE = ControlSource("ada@studio", "terminal")


def given(number: int, action: ControlAction, value: float | None = None, **more: Any) -> GivenControl:
    return GivenControl(number, ControlCommand(action, value=value), SOURCE, age_s=2.0, **more)


class Seen:
    def __init__(self) -> None:
        self.messages: list[Message] = []

    def notify(self, message: Message) -> None:
        self.messages.append(message)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def whole(seen: Seen, tmp_path: Path) -> RunProgress:
    terms: Any = SimpleNamespace()
    clock: Any = SimpleNamespace(now=lambda: 100.0)
    return RunProgress(seen, tmp_path, terms, JobFilter(), clock)


def test_each_command_is_shown_once_with_the_time_at_which_it_was_given(whole: RunProgress, seen: Seen) -> None:
    whole.show([], in_flight=0)
    commands = [given(1, ControlAction.PAUSE), given(2, ControlAction.CONCURRENCY, 3)]
    assert not whole.knows(commands)
    whole.show(commands, in_flight=7)
    assert seen.messages == [
        Controlled(98.0, "pause", "ada@studio", "terminal", 7),
        Controlled(98.0, "concurrency", "ada@studio", "terminal", 7, 3),
    ]
    assert whole.knows(commands)
    whole.show([*commands, given(3, ControlAction.RESUME)], in_flight=0)
    assert [each.action for each in seen.messages if isinstance(each, Controlled)] == ["pause", "concurrency", "resume"]


def test_of_commands_before_the_coordinator_only_the_present_pause_is_shown(whole: RunProgress, seen: Seen) -> None:
    whole.show([given(1, ControlAction.STOP), given(2, ControlAction.PAUSE)], in_flight=0)
    assert [each.action for each in seen.messages if isinstance(each, Controlled)] == ["pause"]


def test_the_newest_deadline_counts_from_the_moment_at_which_it_was_given() -> None:
    commands = [given(1, ControlAction.DEADLINE, 60.0), given(2, ControlAction.DEADLINE, 30.0)]
    assert deadline_given(commands) == 28.0
    assert deadline_given([given(1, ControlAction.DEADLINE, 1.0)]) == 0.0
    assert deadline_given([given(1, ControlAction.PAUSE)]) is None


def test_a_deadline_that_an_earlier_coordinator_was_given_does_not_count() -> None:
    assert deadline_given([given(1, ControlAction.DEADLINE, 60.0, is_current=False)]) is None
