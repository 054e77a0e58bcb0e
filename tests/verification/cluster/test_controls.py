"""Commands to a run by its id: given through a real database to real workers. The judge is the gateway's ledger."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crucible_batch.api.cluster import commands as cluster_commands
from crucible_batch.api.cluster.commands import control_cluster_run
from crucible_batch.api.control_desk import ControlAnswer
from crucible_batch.cluster import ClusterAddress, QueuedShard
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.domain.cluster_control import HEARD_S
from crucible_batch.domain.shard_lease import ShardState
from crucible_batch.errors import ControlError
from tests.preloaded import COMMAND
from tests.verification.cluster.postgres import PostgresServer
from tests.verification.cluster.proxy import Relay
from tests.verification.cluster.scene import Process, Scene, playing

JOBS = 400
SLOW = ("--time-scale", "0.5", "--runners", "6")
"""There are jobs in flight and jobs left whenever a command is given."""


@pytest.fixture
def scene(tmp_path: Path, address: ClusterAddress) -> Iterator[Scene]:
    with playing(tmp_path, address.dsn, 2 * JOBS, *SLOW) as found:
        yield found


async def give(scene: Scene, *words: str) -> ControlAnswer:
    return await control_cluster_run("spring", words, scene.dsn)


async def ctl(scene: Scene, *words: str) -> Any:
    """Give a command by the installed program, and return its data."""
    process = scene.start(COMMAND, "ctl", *words, "--json")
    code = await process.ended()
    found = json.loads(process.out.read_text().splitlines()[-1])
    assert code == 0, found
    return found["data"]


async def bought(scene: Scene) -> int:
    return len(await asyncio.to_thread(scene.bought))


async def running(scene: Scene, shards: int) -> list[QueuedShard]:
    def are_running(rows: list[QueuedShard]) -> bool:
        return sum(row.state is ShardState.RUNNING for row in rows) == shards

    return await scene.until_shards(are_running)


@asynccontextmanager
async def opened(scene: Scene) -> AsyncIterator[ClusterDatabase]:
    database = await ClusterDatabase.opened(ClusterAddress.parse(scene.dsn), lease_s=0.0)
    try:
        yield database
    finally:
        await database.close()


def controls_of(run_dir: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(run_dir / ".crucible" / "journal.sqlite3")) as journal:
        return [json.loads(body) for (body,) in journal.execute("SELECT body FROM controls ORDER BY id")]


def actions(run_dir: Path) -> list[str]:
    return [entry["command"]["action"] for entry in controls_of(run_dir)]


async def under_load(scene: Scene, workers: int, *, jobs: int = JOBS, head: str = "concurrency: 3\n") -> Process:
    """Start workers and a coordinator, and wait until each worker has bought something."""
    scene.write(jobs)
    manifest = scene.folder / "spring.yaml"
    manifest.write_text(head + manifest.read_text())
    for _ in range(workers):
        scene.worker()
    coordinator = scene.coordinator("--shards", str(workers))
    await running(scene, workers)
    await scene.until_bought(workers + 2)
    return coordinator


async def test_three_workers_buy_not_one_job_from_the_answer_to_pause_until_resume(scene: Scene) -> None:
    coordinator = await under_load(scene, 3)
    answer = await give(scene, "pause")
    before = await bought(scene)
    assert (answer.data["workers"], answer.data["taken"]) == (3, 3), answer.message
    assert 0 < before < JOBS
    await coordinator.says("paused  by ")
    again = await give(scene, "pause")
    assert again.message.startswith("already paused by ")
    await collected(scene, before)
    assert await bought(scene) == before
    status = await status_of(scene)
    assert status["paused"]["by"] in again.message
    listed = await ran(scene, "runs", "outputs", "--json")
    assert [run["state"] for run in listed["runs"]] == ["paused"]
    resumed = await ctl(scene, "outputs/spring/default", "resume")
    assert resumed["message"].startswith("resumed; taken by 3 of 3 workers")
    await scene.until_bought(before + 3)
    for folder in scene.run_dir.glob("shards/*/*.e1"):
        assert actions(folder) == ["pause", "resume"]
    await coordinator_has(scene, ["pause", "resume"])
    assert {entry["source"]["via"] for entry in controls_of(scene.run_dir)} == {"terminal"}


async def ran(scene: Scene, *words: str) -> Any:
    process = scene.start(COMMAND, *words)
    assert await process.ended() == 0, process.log
    return json.loads(process.out.read_text().splitlines()[-1])["data"]


async def collected(scene: Scene, count: int) -> None:
    """Wait until the workers have the outputs of all jobs that were bought; the first one was the coordinator's."""
    await scene.until_shards(lambda rows: sum(row.figures.succeeded for row in rows) == count - 1)


async def status_of(scene: Scene) -> Any:
    (run,) = (await ran(scene, "cluster", "status", "--json"))["runs"]
    return run


async def coordinator_has(scene: Scene, wanted: list[str]) -> None:
    while actions(scene.run_dir) != wanted:
        await asyncio.sleep(0.05)


async def test_a_worker_that_claims_a_shard_in_a_pause_buys_nothing(scene: Scene) -> None:
    """Another takes over the shard of a worker that was killed, and collects what is in flight."""
    await under_load(scene, 1)
    await give(scene, "pause")
    before = await bought(scene)
    scene.processes[0].kill()
    successor = scene.worker()
    await successor.says("epoch 2")
    answer = await give(scene, "pause")
    assert (answer.data["workers"], answer.data["taken"]) == (1, 1), answer.message
    await collected(scene, before)
    assert await bought(scene) == before
    await give(scene, "resume")
    await scene.until_bought(before + 1)


async def test_a_worker_that_is_frozen_when_a_pause_is_given_buys_nothing_when_it_wakes_up(scene: Scene) -> None:
    """Its job in flight has ended by then, so that it would buy the next one at once."""
    await under_load(scene, 1, head="concurrency: 1\n")
    worker = scene.processes[0]
    before = await bought(scene)
    await scene.until_bought(before + 1)
    worker.send(signal.SIGSTOP)
    before = await bought(scene)
    answer = await give(scene, "pause")
    assert (answer.data["workers"], answer.data["taken"]) == (1, 0)
    assert "silent, and can buy nothing before taking it" in answer.message
    worker.send(signal.SIGCONT)
    while (answer := await give(scene, "pause")).data["taken"] < answer.data["workers"]:
        await asyncio.sleep(0.1)
    await collected(scene, before)
    assert await bought(scene) == before


async def test_a_worker_that_is_cut_off_from_the_database_buys_nothing_from_the_answer_on(
    scene: Scene, server: PostgresServer
) -> None:
    """Its lease, of fifteen seconds, is still valid, and its jobs end."""
    with tempfile.TemporaryDirectory(prefix="pg-relay-") as name:
        relay = Relay(server.directory, Path(name))
        scene.write(JOBS)
        scene.installed_worker(CRUCIBLE_BATCH_DSN=scene.dsn.replace(str(server.directory), name))
        scene.coordinator("--shards", "1")
        await scene.until_bought(5)
        relay.stall()
        answer = await give(scene, "pause")
        before = await bought(scene)
        assert (answer.data["workers"], answer.data["taken"]) == (1, 0)
        while (await statuses(scene)).keys() - {"succeeded", "failed"}:
            assert (await statuses(scene)).total() == before
            await asyncio.sleep(0.05)
        relay.restore()
        while not (answer := await give(scene, "pause")).data["taken"]:
            pass
        await collected(scene, before)
        assert await bought(scene) == before
        await give(scene, "resume")
        await scene.until_bought(before + 1)
        relay.close()


async def statuses(scene: Scene) -> Counter[str]:
    """The jobs that were bought, by their status at the gateway."""
    state = await asyncio.to_thread(scene.state)
    return Counter(job["status"] for job in state["jobs"])


@pytest.mark.slow
async def test_stop_ends_the_run_and_the_same_command_continues_it(scene: Scene) -> None:
    coordinator = await under_load(scene, 2)
    await give(scene, "concurrency", "4")
    data = await ctl(scene, "spring", "stop", "--cluster", "env")
    before = await bought(scene)
    assert data["taken"] == 2, data
    with pytest.raises(ControlError, match="stopping"):
        await give(scene, "pause")
    assert await coordinator.ended() == 130, coordinator.log
    assert await bought(scene) == before
    scene.check_ledger()
    assert scene.report["status"] == "interrupted"
    assert "stopped by " in json.dumps(scene.report["stops"])
    again = scene.coordinator("--shards", "2")
    await scene.until_bought(before + 1)
    again.send(signal.SIGINT)
    await again.ended()


async def test_a_deadline_and_the_concurrency_come_to_all_workers(scene: Scene) -> None:
    coordinator = await under_load(scene, 2)
    answer = await give(scene, "concurrency", "1")
    assert answer.message.startswith("at most 1 jobs in flight on each worker; taken by 2 of 2 workers")
    answer = await give(scene, "deadline", "0.5s")
    assert answer.data["taken"] <= 2
    assert await coordinator.ended() == 5, coordinator.log
    assert "DEADLINE" in json.dumps(scene.report["stops"])


async def test_a_failed_job_of_a_running_shard_is_tried_again_and_its_name_stays_out_of_the_database(
    scene: Scene,
) -> None:
    scene.budget *= 2  # for all jobs, and for the second try as well
    scene.write(JOBS)
    path = scene.folder / "spring.yaml"
    first = "jobs:\n  - {name: first, prompt: for its price}\n  - {name: 'bad[1]', prompt: nsfw}\n"
    path.write_text(path.read_text().replace("jobs:\n", first))
    scene.worker()
    scene.coordinator("--shards", "1")
    await scene.until_shards(lambda rows: any(row.figures.failed for row in rows))
    before = await tries(scene)
    answer = await give(scene, "retry", "bad*")
    assert answer.message.startswith(
        "the job is tried again if failed, which only the workers know; taken by 1 of 1 worker"
    )
    while await tries(scene) == before:
        await asyncio.sleep(0.05)
    with psycopg.connect(scene.dsn) as connection:
        assert "bad" not in str(connection.execute("SELECT * FROM crucible_batch.controls").fetchall())


async def tries(scene: Scene) -> int:
    state = await asyncio.to_thread(scene.state)
    return sum("nsfw" in job["params"].values() for job in state["jobs"])


async def test_a_worker_of_an_earlier_release_is_named(scene: Scene) -> None:
    """It claims shards, and never asks for commands."""
    scene.write(4)
    scene.coordinator("--shards", "1")
    rows = await scene.until_shards(bool)
    async with opened(scene) as database:
        await database.see_worker("old", "host-old:1", "0.0.9")
        claimed = await database.claim_shard(rows[0].key, "old")
        assert claimed.epoch == 1
        with pytest.raises(ControlError, match="not on host-old:1: it does not ask for commands"):
            await give(scene, "pause")
        assert await database.pauses()


def test_the_answer_waits_longer_than_a_worker_may_buy_without_asking() -> None:
    assert cluster_commands._MARGIN_S > 0
    assert HEARD_S + cluster_commands._MARGIN_S < 10
