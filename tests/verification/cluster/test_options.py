"""The options of a run on a cluster, with PostgreSQL and processes: the deadline, and notifications."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from crucible_batch.api.cluster.deadline import LATE, end_late
from crucible_batch.cluster import ClusterAddress, ClusterRun, ShardFigures, ShardKey
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.domain.credits import Credits
from crucible_batch.domain.shard_lease import AllowanceAnswer, ShardState
from crucible_batch.domain.sharding import PlannedShard
from tests.verification.cluster.scene import Scene, playing

RUN = ClusterRun("spring-1", "spring", "default", "https://gateway.test", "/outputs/spring", Credits(100), Credits(0))
DIGEST = "cd" * 32


@pytest.fixture
def scene(tmp_path: Path, address: ClusterAddress) -> Iterator[Scene]:
    with playing(tmp_path, address.dsn, 100) as found:
        yield found


async def test_a_deadline_is_a_time_of_the_server_and_only_its_coordinator_sets_it(cluster: ClusterDatabase) -> None:
    epoch = (await cluster.open_run(RUN)).epoch
    assert await cluster.deadline(RUN.run) is None
    assert await cluster.set_deadline(RUN.run, epoch, 3600.0) is AllowanceAnswer.ACCEPTED
    left_s = await cluster.deadline(RUN.run)
    assert left_s is not None
    assert 0 < left_s <= 3600
    assert await cluster.set_deadline(RUN.run, epoch - 1, 9e6) is AllowanceAnswer.SUPERSEDED
    assert await cluster.set_deadline("another", 1, 9e6) is AllowanceAnswer.UNKNOWN
    assert (await cluster.deadline(RUN.run) or 0) <= 3600
    await cluster.set_deadline(RUN.run, epoch, 0.0)
    assert (await cluster.deadline(RUN.run) or 0) <= 0
    await cluster.set_deadline(RUN.run, epoch, None)
    assert await cluster.deadline(RUN.run) is None


async def test_shards_that_nobody_runs_are_ended_at_the_deadline_with_their_allowance(cluster: ClusterDatabase) -> None:
    epoch = (await cluster.open_run(RUN)).epoch
    await cluster.add_shards(RUN.run, epoch, DIGEST, [PlannedShard(number, 5, 5, Credits(20)) for number in (1, 2, 3)])
    await cluster.claim_shard(ShardKey(RUN.run, DIGEST, 1), "alive")
    released = ShardKey(RUN.run, DIGEST, 2)
    claimed = await cluster.claim_shard(released, "gone")
    await cluster.release_shard(released, claimed.epoch, ShardFigures(spent=Credits(6)))
    await end_late(cluster, await cluster.shards(RUN.run), "coordinator")
    rows = {row.key.number: row for row in await cluster.shards(RUN.run)}
    assert {number: row.state for number, row in rows.items()} == {
        1: ShardState.RUNNING, 2: ShardState.ENDED, 3: ShardState.ENDED,
    }  # fmt: skip
    assert (rows[2].ending, rows[2].epoch, rows[2].figures.spent, rows[2].figures.held) == (LATE, 2, 6, 14)
    assert (await cluster.runs(RUN.run))[0].left == 40


@pytest.mark.slow
async def test_a_run_ends_at_its_deadline_and_the_same_command_continues_it(
    tmp_path: Path, address: ClusterAddress
) -> None:
    """One shard runs at the deadline, and the other one waits: there is one worker."""
    with playing(tmp_path, address.dsn, 100, "--time-scale", "3", "--runners", "4") as scene:
        scene.write(30)
        scene.worker()
        first = scene.coordinator("--shards", "2", "--deadline", "15s")
        assert await first.ended() == 5, first.log
        bought = len(scene.bought())
        report = scene.report
        assert (report["exit_code"], report["stops"]["*"]["code"]) == (5, "DEADLINE")
        assert report["counts"]["pending"] == 30 - report["counts"]["succeeded"] > 0
        await asyncio.sleep(1)
        assert len(scene.bought()) == bought < 30
        again = scene.coordinator("--shards", "2")
        assert await again.ended() == 0, again.log
        scene.check_all_done(30)


async def test_a_coordinator_notifies_the_complete_run_and_a_signal(scene: Scene) -> None:
    scene.write(8)
    text = (scene.folder / "spring.yaml").read_text()
    everything = "[start, success, partial, blocked, failure]"
    notify = f"notify: [{{on: {everything}, command: [./notify.sh]}}]\njobs:"
    (scene.folder / "spring.yaml").write_text(text.replace("jobs:", notify))
    (scene.folder / "notify.sh").write_text("#!/bin/sh\ncat >> messages; echo >> messages\n")
    (scene.folder / "notify.sh").chmod(0o755)
    messages = scene.folder / "messages"
    first = scene.coordinator("--shards", "2", "--allow-command")
    await scene.until_shards(bool)
    first.send(signal.SIGINT)
    assert await first.ended() == 130, first.log
    scene.worker()
    again = scene.coordinator("--shards", "2", "--allow-command")
    assert await again.ended() == 0, again.log
    found = [json.loads(line) for line in messages.read_text().splitlines() if line]
    assert [(each["type"], each["data"].get("exit_code")) for each in found] == [
        ("run.started", None), ("run.failed", 130), ("run.started", None), ("run.succeeded", 0),
    ]  # fmt: skip
    assert [each["data"]["counts"]["succeeded"] for each in found if each["data"].get("counts")] == [0, 1, 8]
