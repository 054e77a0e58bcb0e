"""What the main run directory of a run in a cluster shows of its commands, and what the coordinator itself performs."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crucible_batch.api import RunState, Watch, list_runs, read_status
from crucible_batch.api.cluster.coordinator import CoordinatorCommands, record, taken
from crucible_batch.api.cluster.note import is_run_of_cluster, note_run_in_cluster
from crucible_batch.api.controlling import control
from crucible_batch.cli.status import next_command
from crucible_batch.cluster import ShardKey
from crucible_batch.domain.cluster_control import GivenControl
from crucible_batch.domain.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.engine import SystemClock
from crucible_batch.errors import ControlError, RunBusyError
from crucible_batch.journal import Journal, lock_run_directory
from crucible_batch.view.pages import next_step, state_text, tone_of
from tests.unit.api.shard_ground import BINDING, OK, ShardGround, done

ANNA = ControlSource("anna@host", "terminal")


def given(*words: str) -> list[GivenControl]:
    return [
        GivenControl(number, ControlCommand(ControlAction(word)), ANNA, 60.0 - number)
        for number, word in enumerate(words, 1)
    ]


@pytest.fixture
def main(tmp_path: Path) -> Path:
    """A run directory whose shards are with the workers of a cluster."""
    ground = ShardGround(tmp_path)
    ground.divide([done(0, 1.0)])
    note_run_in_cluster(ground.main, now=1.0)
    return ground.main


def recorded(main: Path) -> list[str]:
    with Journal.read(main) as journal:
        return [entry.command.action.value for entry in journal.controls()]


async def test_each_command_is_recorded_once_with_its_time_and_who_gave_it(main: Path) -> None:
    before = SystemClock().now()
    await record(main, given("pause", "concurrency"))
    await record(main, given("pause", "concurrency", "resume"))
    assert recorded(main) == ["pause", "concurrency", "resume"]
    with Journal.read(main) as journal:
        entries = journal.controls()
    assert {entry.source for entry in entries} == {ANNA}
    assert [round(entry.at - before) for entry in entries] == [-59, -58, -57]


@pytest.mark.parametrize("via", ["terminal", "page"])
def test_a_command_to_the_directory_names_the_one_that_reaches_the_workers(main: Path, via: str) -> None:
    with pytest.raises(ControlError, match="is run by the workers of a cluster") as refused:
        control(main, ["concurrency", "3"], via=via)
    assert str(refused.value.hint).endswith(f": crucible-batch ctl {main} concurrency 3 --cluster env")


async def test_a_run_in_a_cluster_is_shown_as_paused(main: Path) -> None:
    def shown() -> tuple[RunState, bool, bool]:
        (run,) = list_runs(main.parents[1]).runs
        return run.state, read_status(main).paused is not None, Watch(main).look().status.paused is not None

    assert shown() == (RunState.RUNNING, False, False)
    await record(main, given("pause"))
    assert shown() == (RunState.PAUSED, True, True)
    await record(main, given("pause", "resume"))
    assert shown() == (RunState.RUNNING, False, False)


async def test_a_pause_that_lasts_after_a_merge_is_recorded_for_the_merged_run(main: Path) -> None:
    await record(main, given("pause"))
    with lock_run_directory(main), Journal.open(main, BINDING, now=2.0) as journal:
        journal.end_run(journal.begin_run(journal.runs()[-1].terms, now=2.0), OK, now=3.0)
    assert recorded(main) == []
    await record(main, given("pause"))
    await record(main, given("pause"))
    assert recorded(main) == ["pause"]


async def test_a_pause_of_a_run_that_never_was_in_a_cluster_ends_with_it(tmp_path: Path) -> None:
    """Its coordinator's machine has only shards of a divided plan, and a run that was killed in a pause."""
    ground = ShardGround(tmp_path)
    ground.divide([done(0, 1.0)])
    await record(ground.main, given("pause"))
    assert read_status(ground.main).paused is None


@dataclass
class Database:
    rows: list[GivenControl] = field(default_factory=list)
    taken: list[tuple[ShardKey, int, int]] = field(default_factory=list)
    forgotten: list[tuple[str, int]] = field(default_factory=list)

    async def controls(self, _run: str) -> list[GivenControl]:
        return self.rows

    async def take_controls(self, key: ShardKey, epoch: int, taken: int, _in_flight: int) -> list[GivenControl]:
        self.taken.append((key, epoch, taken))
        return [each for each in self.rows if each.number > taken]

    async def forget_taker(self, run: str, epoch: int) -> None:
        self.forgotten.append((run, epoch))


async def test_a_directory_that_is_busy_is_written_the_next_time(main: Path) -> None:
    database: Any = Database(given("pause"))
    commands = CoordinatorCommands(database, main, "run", 3)
    with lock_run_directory(main):
        assert not is_run_of_cluster(main)  # a run is active here, which has a socket
        with pytest.raises(RunBusyError):
            await record(main, given("pause"))
        assert await commands.read() == database.rows
    assert is_run_of_cluster(main)
    await commands.read()
    await commands.read()
    assert recorded(main) == ["pause"]


async def test_what_the_coordinator_runs_itself_begins_with_the_pause(main: Path) -> None:
    database: Any = Database(given("pause"))
    performed: list[str] = []

    async def perform(command: ControlCommand, _source: ControlSource) -> None:
        performed.append(command.action.value)

    desk: Any = SimpleNamespace(perform=perform, before_each_purchase=lambda _check: None, suspend=lambda _on: None)
    async with taken(CoordinatorCommands(database, main, "run", 3)) as commanded, commanded(desk):
        assert performed == ["pause"]
        assert database.taken == [(ShardKey("run", "", 0), 3, 0), (ShardKey("run", "", 0), 3, 1)]
        assert database.forgotten == []
    assert database.forgotten == [("run", 3)]


async def test_a_run_that_the_cluster_does_not_know_yet_takes_commands_of_its_socket_only() -> None:
    async with taken(None) as commanded:
        assert commanded is nullcontext


def test_a_run_whose_shards_are_with_the_workers_is_shown_as_running(main: Path) -> None:
    status = read_status(main)
    assert (status.is_active, status.running) == (True, False)
    assert "--cluster env" in (next_command(status) or "")
    snapshot = Watch(main).look()
    assert (snapshot.killed, state_text(snapshot), tone_of(snapshot)) == (
        False,
        "running on a cluster: 0 of 4 shards merged",
        "live",
    )
    assert next_step(snapshot).command == "crucible-batch cluster status --cluster env"
    (listed,) = list_runs(main.parents[2] / "outputs").runs
    assert listed.state is RunState.RUNNING


def test_shards_without_a_cluster_are_waited_for(tmp_path: Path) -> None:
    ground = ShardGround(tmp_path)
    ground.divide([done(0, 1.0)])
    watch = Watch(ground.main)
    snapshot = watch.look()
    assert (snapshot.status.is_active, state_text(snapshot)) == (False, "waiting for shards: 0 of 4 shards merged")
    assert next_step(snapshot).command == f"crucible-batch merge {ground.main}"
    (listed,) = list_runs(tmp_path / "outputs").runs
    assert listed.state is RunState.WAITING
    note_run_in_cluster(ground.main, now=1.0)
    assert watch.look().status.is_active
