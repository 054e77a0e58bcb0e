"""The answer to a command that is given to a run of a cluster: what its workers have, and until when it is awaited."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from crucible_batch.api.cluster import commands as cluster_commands
from crucible_batch.api.cluster.commands import _Given
from crucible_batch.api.control_desk import ControlAnswer, read_command
from crucible_batch.cluster import ClusterRun, ControlTaker, RunRow
from crucible_batch.domain.cluster_control import HEARD_S, GivenControl
from crucible_batch.domain.control import ControlCommand, ControlSource
from crucible_batch.errors import ControlError
from tests.case_table import each_case

ANNA, BEN = ControlSource("anna@host", "terminal"), ControlSource("ben@host", "terminal")
D = Decimal
RUN = RunRow(ClusterRun("run-1", "spring", "default", "https://g", "/o", D(9), D(0)), D(9), D(0), 1, 9.0, 1.0, None)


def taker(number: int, taken: int | None = 0, name: str | None = "") -> ControlTaker:
    name = f"host-{number}:1" if name == "" else name
    return ControlTaker("ab" * 32 if number else "", number, name, "1.0", taken, 4)


@dataclass
class Cluster:
    """The database. A worker takes commands after ``delays`` seconds: None for never."""

    takers_: list[ControlTaker] = field(default_factory=list)
    delays: dict[int, float | None] = field(default_factory=dict)
    given: list[GivenControl] = field(default_factory=list)
    now: float = 0.0

    async def controls(self, _run: str) -> list[GivenControl]:
        return self.given

    async def give_control(self, run: str, command: ControlCommand, source: ControlSource) -> int:
        assert (run, source) == ("run-1", ANNA)
        self.given.append(GivenControl(len(self.given) + 1, command, source, 0.0))
        return len(self.given)

    async def takers(self, _run: str) -> list[ControlTaker]:
        def has(number: int) -> bool:
            delay = self.delays.get(number, 0.0)
            return delay is not None and self.now >= delay

        newest = len(self.given)
        return [replace(each, taken=newest) if has(each.number) else each for each in self.takers_]

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def give(self, *words: str) -> ControlAnswer:
        database: Any = self
        return await _Given(database, RUN, read_command(words), ANNA, self.sleep).answer()


async def test_the_answer_comes_when_all_workers_have_the_command() -> None:
    cluster = Cluster([taker(1), taker(2), taker(0, name=None)], {1: 0.2, 2: 0.6})
    answer = await cluster.give("pause")
    assert answer.message == "paused; taken by 3 of 3 workers; 12 jobs in flight being collected"
    assert answer.data == {"action": "pause", "run": "run-1", "workers": 3, "taken": 3, "in_flight": 12}
    assert 0.6 <= cluster.now < 0.7


async def test_a_silent_worker_is_awaited_until_it_can_buy_nothing_any_more() -> None:
    cluster = Cluster([taker(1), taker(2)], {2: None})
    answer = await cluster.give("pause")
    assert "taken by 1 of 2 workers; host-2:1 is silent, and can buy nothing before taking it" in answer.message
    assert answer.data["taken"] == 1
    assert cluster.now > HEARD_S


async def test_a_worker_that_never_asks_is_an_error() -> None:
    cluster = Cluster([taker(1), taker(2, None, None)], {2: None})
    with pytest.raises(
        ControlError, match=r"on 1 of 2 workers, but not on the worker of shard 2: .* continues as before"
    ):
        await cluster.give("pause")
    assert len(cluster.given) == 1  # it is stored all the same


async def test_without_a_running_shard_the_command_is_for_the_workers_to_come() -> None:
    cluster = Cluster()
    assert (await cluster.give("pause")).message == "paused; no worker runs a shard of it now"
    assert len(cluster.given) == 1


async def test_a_second_pause_is_not_stored_and_shows_who_has_it_by_now() -> None:
    cluster = Cluster([taker(1)], given=[GivenControl(1, read_command(["pause"]), BEN, 65.0)])
    answer = await cluster.give("pause")
    assert answer.message.startswith("already paused by ben@host for 0:01:05; taken by 1 of 1 worker")
    assert len(cluster.given) == 1


async def test_a_run_that_is_not_paused_is_not_resumed() -> None:
    cluster = Cluster([taker(1)])
    assert (await cluster.give("resume")).message == "the run is not paused"
    assert cluster.given == []


async def test_a_run_that_is_stopping_takes_no_more_commands_until_it_is_started_again() -> None:
    stop = GivenControl(1, read_command(["stop"]), BEN, 5.0)
    for words in (("pause",), ("concurrency", "3"), ("deadline", "1h"), ("retry", "a")):
        with pytest.raises(ControlError, match="it buys nothing more"):
            await Cluster(given=[stop]).give(*words)
    earlier = Cluster(given=[replace(stop, is_current=False)])
    await earlier.give("pause")
    assert len(earlier.given) == 2


@each_case(
    "words, message",
    [
        (
            ("stop",),
            "stopping, and no further shard is started; taken by 1 of 1 worker; 4 jobs in flight being collected",
        ),
        (("concurrency", "8"), "at most 8 jobs in flight on each worker; taken by 1 of 1 worker"),
        (("deadline", "90s"), "the run stops in 0:01:30; taken by 1 of 1 worker"),
    ],
)
async def test_each_command_says_what_it_does(words: tuple[str, ...], message: str) -> None:
    assert (await Cluster([taker(1)]).give(*words)).message == message


async def test_retry_gives_identities_and_no_names_to_the_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    rows = {1: [("hero-1", "aa"), ("hero-2", "bb"), ("other", "cc")], 2: [("hero-3", "dd")]}
    plan = SimpleNamespace(
        shard_rows=lambda number: [SimpleNamespace(name=name, identity=one) for name, one in rows[number]]
    )
    monkeypatch.setattr(cluster_commands, "plan_folder", lambda _main, _digest: tmp_path)
    monkeypatch.setattr(cluster_commands, "read_saved_plan", lambda _path: plan)
    cluster = Cluster([taker(1)])
    with pytest.raises(ControlError, match="is not on this machine"):
        await cluster.give("retry", "hero-*")
    (tmp_path / "plan.json").touch()
    answer = await cluster.give("retry", "hero-*")
    assert answer.message.startswith(
        "2 jobs are tried again if failed, which only the workers know; taken by 1 of 1 worker"
    )
    assert cluster.given[0].command.names == ("aa", "bb")
    for words, shards in ((("nobody",), [taker(1)]), (("hero-3",), [taker(1)]), (("hero-1",), [])):
        with pytest.raises(ControlError, match="no shard that is running has a job of this name"):
            await Cluster(shards).give("retry", *words)
