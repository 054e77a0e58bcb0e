"""What a run on a cluster shows of the commands that it is given, and the deadline that its coordinator takes."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crucible_batch.api.cluster.progress import RunProgress
from crucible_batch.api.period_budget import PeriodRules
from crucible_batch.api.request import JobFilter
from crucible_batch.api.shards.note import note_shards, noted_shards
from crucible_batch.domain.cluster_control import GivenControl, deadline_given
from crucible_batch.domain.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.domain.progress import Balance, Controlled, Message, RunBegan
from crucible_batch.journal import Journal
from crucible_batch.manifest.loader import load_manifest
from tests.unit.api.shard_ground import BINDING, ShardGround
from tests.unit.api.test_shard_period import MANIFEST

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


@pytest.mark.parametrize("missing", [True, False])
def test_a_coordinator_that_finds_shards_has_the_allowance_of_the_period_that_they_have(
    seen: Seen, tmp_path: Path, missing: bool
) -> None:
    """The limit of the period is that of all runs. If all shards are merged, nothing is set aside for them."""
    ground = ShardGround(tmp_path)
    ground.divide(budget="80")
    with Journal.open(ground.main, BINDING, now=1.0) as journal:
        shards = noted_shards(journal)
        assert shards is not None
        merged = frozenset() if missing else frozenset(shards.allowances)
        note_shards(journal, replace(shards, account="studio", merged=merged))
    (tmp_path / "campaign.yaml").write_text(MANIFEST)
    rules = PeriodRules.of(load_manifest(tmp_path / "campaign.yaml"), BINDING.gateway)
    clock: Any = SimpleNamespace(now=lambda: 100.0)
    RunProgress(seen, ground.main, ground.terms, JobFilter(), clock, rules).begin()
    (began,) = seen.messages
    assert isinstance(began, RunBegan)
    expected = Balance(Decimal(80), Decimal(0), Decimal(0), "studio, today")
    assert began.balance == (expected if missing else Balance(Decimal(100), Decimal(0), Decimal(0)))
