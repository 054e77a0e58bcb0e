"""Workers in processes of their own: killed, frozen, cut off, and with a PostgreSQL that is restarted."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio

from crucible_batch.cluster import ClusterAddress, ClusterRun, ShardKey
from crucible_batch.cluster.connection import ClusterConnection
from crucible_batch.cluster.database import RESCUE_S, ClusterDatabase
from crucible_batch.cluster.queue import ShardQueue, rescue
from crucible_batch.domain.shard_lease import LEASE_S, ShardState
from crucible_batch.domain.sharding import PlannedShard
from tests.verification.cluster import claimer
from tests.verification.cluster.forks import Fork
from tests.verification.cluster.postgres import PostgresServer, running_server
from tests.verification.cluster.proxy import Relay

D = Decimal
RUN = ClusterRun("spring-1", "spring", "default", "https://gateway.test", "/outputs/spring", D(100), D(0))
DIGEST = "cd" * 32


class Worker:
    """A claimer in a process, and the events that it logs."""

    def __init__(self, folder: Path, dsn: str, name: str, lease_s: float) -> None:
        self.name, self.log, self.gate = name, folder / f"{name}.log", folder / "gate"
        self.err = folder / f"{name}.err"
        self.process = Fork(claimer.work, dsn, name, self.log, self.gate, lease_s, err=self.err)

    @property
    def events(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []

    async def until(self, event: str) -> None:
        """Wait until an event is logged. The suite's limit ends a hang."""
        while event not in self.events:
            assert self.process.poll() is None, self.err.read_text(encoding="utf-8")
            await asyncio.sleep(0.05)

    async def ended(self) -> int:
        while (code := self.process.poll()) is None:
            await asyncio.sleep(0.05)
        return code


Start = Callable[..., Worker]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    workers: list[Worker] = []

    def start(dsn: str, name: str, lease_s: float = LEASE_S) -> Worker:
        workers.append(Worker(tmp_path, dsn, name, lease_s))
        return workers[-1]

    yield start
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.kill()
        worker.process.wait()


@pytest.fixture
def relay(server: PostgresServer) -> Iterator[Relay]:
    with tempfile.TemporaryDirectory(prefix="pg-relay-") as name:
        found = Relay(server.directory, Path(name))
        yield found
        found.close()


async def deferred(database: ClusterDatabase, *allowances: int) -> list[ShardKey]:
    """Open the run, and queue its shards as a coordinator does."""
    epoch = (await database.open_run(RUN)).epoch
    planned = [PlannedShard(number, 1, 1, D(amount)) for number, amount in enumerate(allowances, 1)]
    assert (await database.add_shards(RUN.run, epoch, DIGEST, planned)).answer == "accepted"
    keys = [ShardKey(RUN.run, DIGEST, each.number) for each in planned]
    async with ShardQueue(database.address) as queue:
        assert await queue.defer(keys) == len(keys)
        assert await queue.defer(keys) == 0
    return keys


async def taken_over(database: ClusterDatabase, rescuer: Worker) -> None:
    """Make the lease of the first owner as old as it becomes without it, and wait until the rescuer has the shard."""
    connection = ClusterConnection(database.address)
    while "claimed 1 2" not in rescuer.events:
        assert rescuer.process.poll() is None, rescuer.err.read_text(encoding="utf-8")
        await connection.rows("UPDATE shards SET renewed_at = renewed_at - interval '1 h' WHERE epoch = 1")
        await asyncio.sleep(0.05)
    await connection.close()


async def all_ended(database: ClusterDatabase) -> None:
    while any(each.state is not ShardState.ENDED for each in await database.shards(RUN.run)):
        await asyncio.sleep(0.05)


@pytest_asyncio.fixture
async def database(address: ClusterAddress) -> AsyncIterator[ClusterDatabase]:
    found = await ClusterDatabase.opened(address)
    yield found
    await found.close()


def open_gate(worker: Worker) -> None:
    worker.gate.touch()


async def check_end(database: ClusterDatabase, epoch: int, worker: str) -> None:
    """The shard ended once, under this owner, and what it did not spend was returned once."""
    await all_ended(database)
    (shard,) = await database.shards(RUN.run)
    assert (shard.epoch, shard.worker, shard.figures.spent) == (epoch, worker, 9)
    assert (await database.runs())[0].left == 91


async def test_the_shard_of_a_killed_worker_is_taken_over(database: ClusterDatabase, start: Start) -> None:
    """In the time of the lease, which is short here. The other tests make it older."""
    await deferred(database, 10)
    killed = start(database.address.dsn, "killed", lease_s=2.0)
    await killed.until("claimed 1 1")
    rescuer = start(database.address.dsn, "rescuer", lease_s=2.0)
    killed.process.kill()
    await rescuer.until("claimed 1 2")
    assert (await database.runs())[0].left == 90
    open_gate(rescuer)
    await check_end(database, 2, "rescuer")
    async with ShardQueue(database.address, lease_s=0.0) as queue:
        await queue.drop_stalled()
        assert await queue.waiting() == 0
        assert await rescue(database, queue, 0.0) == 0


async def test_a_frozen_worker_is_refused_when_it_wakes_up(database: ClusterDatabase, start: Start) -> None:
    await deferred(database, 10)
    zombie = start(database.address.dsn, "zombie")
    await zombie.until("claimed 1 1")
    rescuer = start(database.address.dsn, "rescuer")
    await rescuer.until(f"ready {rescuer.process.pid}")
    zombie.process.send_signal(signal.SIGSTOP)
    await taken_over(database, rescuer)
    zombie.process.send_signal(signal.SIGCONT)
    await zombie.until("report 1 1 superseded")
    assert "lost 1 1" in zombie.events
    assert (await database.shards())[0].state is ShardState.RUNNING
    open_gate(rescuer)
    await check_end(database, 2, "rescuer")
    for worker in (zombie, rescuer):
        worker.process.send_signal(signal.SIGTERM)
    assert [await zombie.ended(), await rescuer.ended()] == [0, 0]
    assert "never retrieved" not in zombie.err.read_text(encoding="utf-8")


async def test_a_frozen_worker_that_wakes_up_after_the_end_returns_nothing(
    database: ClusterDatabase, start: Start
) -> None:
    await deferred(database, 10)
    zombie = start(database.address.dsn, "zombie")
    await zombie.until("claimed 1 1")
    zombie.process.send_signal(signal.SIGSTOP)
    rescuer = start(database.address.dsn, "rescuer")
    await taken_over(database, rescuer)
    open_gate(rescuer)
    await check_end(database, 2, "rescuer")
    zombie.process.send_signal(signal.SIGCONT)
    await zombie.until("report 1 1 superseded")
    await check_end(database, 2, "rescuer")


@pytest.mark.parametrize("fault", ["stall", "cut"])
async def test_a_worker_that_is_cut_off_loses_its_shard(
    database: ClusterDatabase, start: Start, server: PostgresServer, relay: Relay, fault: str
) -> None:
    await deferred(database, 10)
    dsn = database.address.dsn.replace(str(server.directory), str(relay.directory))
    alone = start(dsn, "alone")
    await alone.until("claimed 1 1")
    rescuer = start(database.address.dsn, "rescuer")
    getattr(relay, fault)()
    await taken_over(database, rescuer)
    relay.restore()
    await alone.until("report 1 1 superseded")
    open_gate(rescuer)
    await check_end(database, 2, "rescuer")


@pytest.mark.parametrize("immediately", [False, True])
async def test_workers_continue_after_a_restart_of_the_database(start: Start, immediately: bool) -> None:
    with running_server() as server:
        address = ClusterAddress.parse(server.dsn(server.create_database()))
        database = await ClusterDatabase.opened(address, create=True)
        await deferred(database, 10, 10, 10, 10)
        workers = [start(address.dsn, f"w{number}") for number in (1, 2)]
        while sum(each.state is ShardState.RUNNING for each in await database.shards()) < 2:
            await asyncio.sleep(0.05)
        server.stop(immediately=immediately)
        server.start()
        open_gate(workers[0])
        await all_ended(database)
        assert (await database.runs())[0].left == 100 - 4 * 9
        for worker in workers:
            worker.process.send_signal(signal.SIGTERM)
        assert [await worker.ended() for worker in workers] == [0, 0]
        reports = [event.split() for worker in workers for event in worker.events if event.startswith("report")]
        assert sorted(number for _, number, _, answer in reports if answer == "accepted") == ["1", "2", "3", "4"]
        await database.close()


async def test_a_shard_whose_task_was_lost_is_queued_again(database: ClusterDatabase, start: Start) -> None:
    """A coordinator that is killed between the shards' rows and their tasks leaves this."""
    epoch = (await database.open_run(RUN)).epoch
    await database.add_shards(RUN.run, epoch, DIGEST, [PlannedShard(1, 1, 1, D(10))])
    worker = start(database.address.dsn, "w1")
    await worker.until("claimed 1 1")
    open_gate(worker)
    await check_end(database, 1, "w1")


def test_a_shard_is_taken_over_within_thirty_seconds() -> None:
    """A lease becomes stale, a rescuer has its turn, another one if the first stalls, and a worker notices the task."""
    assert LEASE_S + 3 * RESCUE_S <= 30
