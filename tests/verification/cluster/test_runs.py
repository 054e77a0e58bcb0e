"""Runs on real workers: takeover, zombies, restarts, waves; judged by the gateway's own ledger."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from crucible_batch.api.budgets import budget_states
from crucible_batch.cluster import ClusterAddress, QueuedShard
from crucible_batch.domain.shard_lease import ShardState
from crucible_batch.settings import Settings
from tests.integration.cli.conftest import KEY
from tests.verification.cluster.postgres import PostgresServer, running_server
from tests.verification.cluster.scene import CANARY, PRICE, Scene, playing

Play = Callable[[int], AbstractContextManager[Scene]]


@pytest.fixture
def scene(tmp_path: Path, address: ClusterAddress) -> Iterator[Scene]:
    with playing(tmp_path, address.dsn, 100) as found:
        yield found


def is_running(rows: list[QueuedShard]) -> bool:
    return any(row.state is ShardState.RUNNING for row in rows)


async def test_two_workers_run_all_shards_and_the_database_has_no_key_and_no_prompt(scene: Scene) -> None:
    scene.write(8)
    scene.worker(), scene.worker()
    coordinator = scene.coordinator("--shards", "4")
    assert await coordinator.ended() == 0, coordinator.log
    scene.check_all_done(8)
    with psycopg.connect(scene.dsn) as connection:
        tables = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'crucible_batch'"
        ).fetchall()
        text = "".join(
            str(connection.execute(f'SELECT t::text FROM "{name}" t'.encode()).fetchall()) for (name,) in tables
        )
    assert "spring" in text
    assert "procrastinate_jobs" in str(tables)
    for secret in (CANARY, KEY, "prompt", "fox"):
        assert secret not in text


async def test_a_killed_worker_is_replaced_and_nothing_is_bought_twice(scene: Scene) -> None:
    scene.write(8)
    first = scene.worker()
    coordinator = scene.coordinator("--shards", "1")
    await scene.until_bought(3)
    first.kill()
    scene.end_leases()
    scene.worker()
    assert await coordinator.ended() == 0, coordinator.log
    scene.check_all_done(8)
    assert {path.name for path in scene.run_dir.glob("shards/*/1-of-1.e*")} == {"1-of-1.e1", "1-of-1.e2"}


async def test_the_successor_of_a_killed_worker_keeps_to_the_allowance(tmp_path: Path, address: ClusterAddress) -> None:
    with playing(tmp_path, address.dsn, 12) as scene:
        scene.write(10)
        first = scene.worker()
        coordinator = scene.coordinator("--shards", "1")
        await scene.until_bought(3)
        first.kill()
        scene.end_leases()
        scene.worker()
        assert await coordinator.ended() == 4, coordinator.log
        scene.check_ledger()
        assert len(scene.bought()) == 12 / PRICE
        assert scene.report["counts"]["blocked"] == 4


async def test_a_frozen_worker_that_wakes_up_after_the_end_changes_nothing(scene: Scene) -> None:
    scene.write(8)
    scene.lease_s = 4.0
    zombie = scene.worker()
    coordinator = scene.coordinator("--shards", "1")
    await scene.until_bought(3)
    zombie.send(signal.SIGSTOP)
    scene.worker()
    assert await coordinator.ended() == 0, coordinator.log
    before = scene.report
    zombie.send(signal.SIGCONT)
    await zombie.says("was taken over by another worker")
    zombie.send(signal.SIGTERM)
    assert await zombie.ended() == 0, zombie.log
    assert "never retrieved" not in zombie.log
    scene.check_all_done(8)
    assert scene.report == before


async def test_a_frozen_worker_that_wakes_up_beside_its_successor_stops(scene: Scene) -> None:
    scene.write(12)
    scene.lease_s = 4.0
    zombie = scene.worker()
    coordinator = scene.coordinator("--shards", "1")
    await scene.until_bought(3)
    zombie.send(signal.SIGSTOP)
    successor = scene.worker()
    await successor.says("epoch 2")
    zombie.send(signal.SIGCONT)
    await zombie.says("buys nothing more")
    assert await coordinator.ended() == 0, coordinator.log
    await zombie.says("was taken over by another worker")
    scene.check_all_done(12)


async def test_postgresql_is_restarted_in_the_middle(tmp_path: Path) -> None:
    with running_server() as server:
        dsn = server.dsn(server.create_database())
        with playing(tmp_path, dsn, 100) as scene:
            scene.write(12)
            scene.worker(), scene.worker()
            coordinator = scene.coordinator("--shards", "4")
            await scene.until_bought(3)
            restart(server)
            assert await coordinator.ended() == 0, coordinator.log
            scene.check_all_done(12)


def restart(server: PostgresServer) -> None:
    server.stop(immediately=True)
    server.start()


async def test_a_worker_that_is_asked_to_stop_returns_its_shard(scene: Scene) -> None:
    scene.write(12)
    first = scene.worker()
    coordinator = scene.coordinator("--shards", "1")
    await scene.until_bought(3)
    first.send(signal.SIGTERM)
    assert await first.ended() == 0, first.log
    assert "was returned to the queue" in first.log
    rows = await scene.until_shards(bool)
    assert [row.state for row in rows] == [ShardState.WAITING]
    scene.worker()
    assert await coordinator.ended() == 0, coordinator.log
    scene.check_all_done(12)


async def test_a_killed_coordinator_is_continued_by_the_same_command(scene: Scene) -> None:
    scene.write(8)
    scene.worker()
    first = scene.coordinator("--shards", "2")
    await scene.until_shards(is_running)
    first.kill()
    scene.end_leases()
    second = scene.coordinator("--shards", "2")
    assert await second.ended() == 0, second.log
    scene.check_all_done(8)
    with closing(sqlite3.connect(scene.run_dir / ".crucible" / "journal.sqlite3")) as journal:
        assert journal.execute("SELECT count(*) FROM runs").fetchone() == (2,)  # the probe, and the merge


async def test_an_interrupted_coordinator_leaves_the_work_to_the_workers(scene: Scene) -> None:
    scene.write(8)
    scene.worker()
    first = scene.coordinator("--shards", "2")
    await scene.until_shards(is_running)
    first.send(signal.SIGINT)
    assert await first.ended() == 130, first.log
    assert "crucible-batch run spring.yaml --cluster env --shards 2" in first.log
    await scene.until_shards(lambda rows: all(row.state is ShardState.ENDED for row in rows))
    second = scene.coordinator("--shards", "2")
    assert await second.ended() == 0, second.log
    scene.check_all_done(8)


async def test_a_run_that_is_ended_early_is_merged_and_continued_by_the_same_command(scene: Scene) -> None:
    """One shard was returned by its worker, and others have not begun."""
    scene.write(16)
    first = scene.worker()
    coordinator = scene.coordinator("--shards", "4")
    await scene.until_bought(3)
    first.send(signal.SIGTERM)
    assert await first.ended() == 0, first.log
    drained = scene.quick("cluster", "drain", "--run", "outputs/spring/default", "--json")
    assert await drained.ended() == 0, drained.log
    shards = json.loads(drained.out.read_text().splitlines()[-1])["data"]
    assert (shards["ended"], shards["running"]) == (1, 0)
    assert shards["withdrawn"] > 0
    assert await coordinator.ended() == 143, coordinator.log  # as the shard ended that its worker returned
    assert "could not be run" not in coordinator.log
    scene.check_ledger()
    bought = scene.bought()
    assert scene.report["counts"]["succeeded"] == len(bought) < 16
    scene.worker()
    again = scene.coordinator("--shards", "2")
    assert await again.ended() == 0, again.log
    scene.check_all_done(16)


async def test_waves_follow_until_the_budget_is_spent(tmp_path: Path, address: ClusterAddress) -> None:
    """With a ceiling of 10 for a price of 2, the first wave sets more aside than it spends."""
    with playing(tmp_path, address.dsn, 30, "--time-scale", "0") as scene:
        scene.write(20, ceiling="10")
        scene.worker(), scene.worker()
        coordinator = scene.coordinator("--shards", "2")
        assert await coordinator.ended() == 4, coordinator.log
        scene.check_ledger()
        counts = scene.report["counts"]
        assert counts["succeeded"] + counts["blocked"] == 20
        assert counts["succeeded"] * PRICE + 10 > 30
        assert "wave 2" in coordinator.log


async def test_a_worker_of_another_gateway_returns_the_shard_and_ends(scene: Scene) -> None:
    scene.write(4)
    stranger = scene.installed_worker(CRUCIBLE_API_BASE="https://other.example")
    coordinator = scene.coordinator("--shards", "1")
    assert await stranger.ended() == 2, stranger.log
    assert "this worker is set to https://other.example" in stranger.log
    once = scene.installed_worker("--once")
    assert await once.ended() == 0, once.log
    assert "1 shards claimed" in once.log
    assert await coordinator.ended() == 0, coordinator.log
    scene.check_all_done(4)


async def test_a_folder_with_the_epoch_of_no_owner_delays_no_worker_and_is_explained(scene: Scene) -> None:
    """Each claim raises an epoch by one, so that a worker would claim the shard for months."""
    scene.write(4)
    first = scene.coordinator("--shards", "1")
    (row,) = await scene.until_shards(lambda rows: any(row.state is ShardState.WAITING for row in rows))
    stray = scene.run_dir / "shards" / row.key.plan_digest[:8] / "1-of-1.e999999999"
    stray.mkdir()
    worker = scene.worker()
    await worker.says(f"{stray} has a later epoch than the newest claim of the shard, epoch 1")
    assert "move it away; then run the manifest again" in worker.log
    assert await first.ended() == 5, first.log
    stray.rmdir()
    second = scene.coordinator("--shards", "1")
    assert await second.ended() == 0, second.log
    scene.check_all_done(4)


@pytest.mark.slow
async def test_processes_of_a_worker_are_replaced_and_stopped_together(scene: Scene) -> None:
    scene.write(4)
    worker = scene.installed_worker("--processes", "2")
    await worker.says("waits for shards")
    coordinator = scene.coordinator("--shards", "2")
    assert await coordinator.ended() == 0, coordinator.log
    children = Path(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(int(children[0]), signal.SIGKILL)
    await worker.says("another is started")
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0, worker.log
    scene.check_all_done(4)


PERIOD = ", per: month, account: studio"


def used_of(accounts: Path) -> tuple[Decimal, Decimal]:
    """What is spent of the month, and what is set aside."""
    (state,) = budget_states(Settings(api_key=None, accounts_directory=accounts), now=time.time())
    return state.shares.spent, state.shares.set_aside


async def test_the_coordinator_sets_credits_of_a_period_aside_and_the_merge_settles_them(scene: Scene) -> None:
    accounts, elsewhere = scene.folder / "accounts", scene.folder / "state of the worker"
    scene.write(8, period=PERIOD)
    scene.worker(XDG_STATE_HOME=str(elsewhere))
    first = scene.coordinator("--shards", "2", CRUCIBLE_BATCH_ACCOUNTS=str(accounts))
    await scene.until_bought(3)
    # The first job was bought for its price, by a run that has ended. The others are for the shards.
    assert used_of(accounts) == (PRICE, 7 * PRICE)
    first.kill()
    scene.end_leases()
    assert used_of(accounts) == (PRICE, 7 * PRICE)
    second = scene.coordinator("--shards", "2", CRUCIBLE_BATCH_ACCOUNTS=str(accounts))
    assert await second.ended() == 0, second.log
    scene.check_all_done(8)
    assert used_of(accounts) == (8 * PRICE, 0)
    assert not list(elsewhere.rglob("*.budget.sqlite3"))


async def test_a_run_continues_with_the_budget_of_the_next_period(tmp_path: Path, address: ClusterAddress) -> None:
    """The waves of all periods together spend more than the limit of one."""
    accounts = tmp_path / "accounts"
    with playing(tmp_path, address.dsn, 8) as scene:
        scene.write(6, period=PERIOD)
        scene.worker()
        first = scene.coordinator("--shards", "1", CRUCIBLE_BATCH_ACCOUNTS=str(accounts))
        assert await first.ended() == 4, first.log
        assert used_of(accounts) == (4 * PRICE, 0)
        accounts.rename(tmp_path / "accounts of an earlier month")
        with closing(sqlite3.connect(scene.run_dir / ".crucible" / "journal.sqlite3")) as journal, journal:
            earlier = "json_set(body, '$.at', json_extract(body, '$.at') - 40 * 86400)"
            journal.execute(f"UPDATE events SET body = {earlier}")
        second = scene.coordinator("--shards", "1", CRUCIBLE_BATCH_ACCOUNTS=str(accounts))
        assert await second.ended() == 0, second.log
        assert scene.report["counts"]["succeeded"] == 6
        assert len(scene.bought()) == 6
