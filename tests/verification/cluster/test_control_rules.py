"""What the database answers to those who give commands and to those who take them; planted bugs are noticed."""

# ruff: noqa: E501 - a bug is a line

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from crucible_batch.cluster import ClusterAddress, ClusterRun, ShardKey
from crucible_batch.cluster.connection import ClusterConnection
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.domain.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.domain.shard_lease import ShardState
from crucible_batch.domain.sharding import PlannedShard
from tests.verification.cluster.test_histories import function_text

ANNA = ControlSource("anna@host", "terminal")
PAUSE, RESUME, STOP = (
    ControlCommand(action) for action in (ControlAction.PAUSE, ControlAction.RESUME, ControlAction.STOP)
)
DIGEST = "ab" * 32
RUN = ClusterRun("spring-1", "spring", "default", "https://gateway.test", "/outputs", Decimal(90), Decimal(0))
OTHER = replace(RUN, run="autumn-1")


def key(number: int) -> ShardKey:
    return ShardKey(RUN.run, DIGEST, number)


async def begun(cluster: ClusterDatabase) -> int:
    """Two runs with two shards each; the first shard of the first one has an owner. Returns the coordinator's epoch."""
    planned = [PlannedShard(number, 5, 5, Decimal(10)) for number in (1, 2)]
    for run in (OTHER, RUN):
        epoch = (await cluster.open_run(run)).epoch
        await cluster.add_shards(run.run, epoch, DIGEST, planned)
    await cluster.claim_shard(key(1), "w1")
    return epoch


async def commands_are_numbered_once_and_those_of_other_runs_are_theirs(cluster: ClusterDatabase) -> None:
    await begun(cluster)
    for _ in range(2):  # the answer to the first try was lost
        assert await cluster.give_control(RUN.run, PAUSE, ANNA, "one") == 1
    assert await cluster.give_control(RUN.run, replace(RESUME, value=2.5, names=("ab", "cd")), ANNA) == 2
    assert await cluster.give_control(OTHER.run, PAUSE, ANNA, "one") == 1
    assert await cluster.give_control("no such run", PAUSE, ANNA) is None
    found = await cluster.controls(RUN.run)
    assert [(each.number, each.command, each.source) for each in found] == [
        (1, PAUSE, ANNA), (2, replace(RESUME, value=2.5, names=("ab", "cd")), ANNA),
    ]  # fmt: skip
    assert {row.state for row in await cluster.shards(OTHER.run)} == {ShardState.WAITING}
    assert all(0 <= each.age_s < 600 for each in found)
    assert [each.number for each in await cluster.controls(RUN.run, 1)] == [2]
    assert (await cluster.pauses()).keys() == {OTHER.run}
    assert (await cluster.status()).paused[OTHER.run].source == ANNA


async def only_the_newest_owner_counts(cluster: ClusterDatabase) -> None:
    await begun(cluster)
    await cluster.give_control(RUN.run, PAUSE, ANNA)

    async def taken() -> list[tuple[int, int | None, int]]:
        return [(each.number, each.taken, each.in_flight) for each in await cluster.takers(RUN.run)]

    assert await taken() == [(1, None, 0)]
    (pause,) = await cluster.take_controls(key(1), 1, 0, 0)
    assert await taken() == [(1, 0, 0)]
    assert await cluster.take_controls(key(1), 1, pause.number, 3) == []
    assert await taken() == [(1, 1, 3)]
    assert (await cluster.claim_shard(key(1), "w2")).epoch == 2
    assert await taken() == [(1, None, 0)]
    await cluster.take_controls(key(1), 2, 0, 0)
    await cluster.take_controls(key(1), 1, 1, 9)  # by the one before, which was frozen
    assert await taken() == [(1, 0, 0)]
    await cluster.take_controls(key(1), 2, 1, 4)
    await cluster.take_controls(key(1), 2, 0, 5)  # sent before the last one, and late
    assert await taken() == [(1, 1, 4)]


async def a_stop_ends_what_waits_and_is_over_with_the_next_coordinator(cluster: ClusterDatabase) -> None:
    epoch = await begun(cluster)
    for command in (ControlCommand(ControlAction.CONCURRENCY, 3.0), STOP):
        await cluster.give_control(RUN.run, command, ANNA)
    assert [row.state for row in await cluster.shards(RUN.run)] == [ShardState.RUNNING, ShardState.WITHDRAWN]
    assert [row.state for row in await cluster.shards(OTHER.run)] == [ShardState.WAITING, ShardState.WAITING]

    async def are_current() -> list[bool]:
        return [each.is_current for each in await cluster.controls(RUN.run)]

    assert await are_current() == [True, True]
    await cluster.close_run(RUN.run, epoch)
    assert await are_current() == [True, True]
    assert (await cluster.open_run(RUN)).epoch == epoch + 1
    assert await are_current() == [False, False]
    assert [each.is_current for each in await cluster.take_controls(key(1), 1, 1, 0)] == [False]


async def the_coordinator_is_awaited_while_it_runs_jobs_itself(cluster: ClusterDatabase) -> None:
    epoch, own = await begun(cluster), ShardKey(RUN.run, "", 0)

    async def numbers() -> list[int]:
        return [each.number for each in await cluster.takers(RUN.run)]

    assert await numbers() == [1]
    assert await cluster.take_controls(own, epoch, 0, 0) == []
    assert await numbers() == [0, 1]
    await cluster.forget_taker(RUN.run, epoch + 1)
    assert await numbers() == [0, 1]
    await cluster.forget_taker(RUN.run, epoch)
    assert await numbers() == [1]


RULES = (
    commands_are_numbered_once_and_those_of_other_runs_are_theirs,
    only_the_newest_owner_counts,
    a_stop_ends_what_waits_and_is_over_with_the_next_coordinator,
    the_coordinator_is_awaited_while_it_runs_jobs_itself,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
async def test_the_database_follows_the_rule(address: ClusterAddress, rule: object) -> None:
    await check(address, rule)


async def check(address: ClusterAddress, *rules: object) -> None:
    connection = ClusterConnection(address)
    try:
        for rule in rules:
            await connection.rows("TRUNCATE runs, shards, workers CASCADE")
            await rule(ClusterDatabase(connection, lease_s=0.0))  # type: ignore[operator]
    finally:
        await connection.close()


# Each bug: the function, and each text of it with what replaces it.
BUGS: dict[str, tuple[str, ...]] = {
    "a repeated command is another one": ("give_control_v1", "p_request, present.epoch", "p_request || clock_timestamp(), present.epoch"),
    "commands are numbered over all runs": ("give_control_v1", "FROM controls c WHERE c.run = p_run\n        ON", "FROM controls c\n        ON"),
    "a stop leaves what waits": ("give_control_v1", "IF p_action = 'stop' THEN", "IF p_action = 'halt' THEN"),
    "a pause ends what waits": ("give_control_v1", "IF p_action = 'stop' THEN", "IF p_action <> 'resume' THEN"),
    "a stop never ends": ("controls_v1", "c.run_epoch = r.epoch", "true"),
    "commands of other runs are performed": ("controls_v1", "c.run = p_run AND", ""),
    "old commands are performed again": ("controls_v1", "AND c.number > p_after", ""),
    "an owner that was replaced acknowledges": (
        "take_controls_v1", "t.epoch > p_epoch OR", "", "t.epoch < excluded.epoch OR", "t.epoch <> excluded.epoch OR",
    ),
    "a late acknowledgement takes one back": (
        "take_controls_v1", "t.taken >= p_taken", "t.taken = p_taken", "t.taken <= excluded.taken", "true",
    ),
    "nothing is acknowledged": ("take_controls_v1", "DO UPDATE SET epoch = excluded.epoch, taken = excluded.taken", "DO UPDATE SET epoch = excluded.epoch"),
    "another coordinator's row is deleted": ("forget_taker_v1", "AND t.epoch = p_epoch", ""),
}  # fmt: skip


@pytest.mark.parametrize("bug", BUGS)
async def test_a_bug_in_the_database_is_noticed(address: ClusterAddress, bug: str) -> None:
    name, *changes = BUGS[bug]
    text = function_text(name).replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in text
        text = text.replace(old, new)
    connection = ClusterConnection(address)
    await connection.rows(text)
    await connection.close()
    with pytest.raises(AssertionError):
        await check(address, *RULES)
