"""A run on a real Dask cluster and a real S3 server. The judge is the gateway's ledger."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.verification.objectstore.conftest import S3Server, free_ports
from tests.verification.objectstore.scene import Process
from tests.verification.objectstore.test_s3_machines import a_run, shard_processes
from tests.verification.objectstore.test_s3_shards import StoredScene

_SCHEDULER = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "30s"}
"""Otherwise a scheduler leaves the tasks of a frozen worker where they are for five minutes."""


class Cluster:
    """A scheduler and its workers, as processes."""

    def __init__(self, scene: StoredScene, port: int) -> None:
        self._scene = scene
        self._port = port
        self.scheduler = self._start("scheduler", "--port", str(port), "--host", "127.0.0.1")
        self.workers = [self.worker(), self.worker()]

    @property
    def address(self) -> str:
        return f"dask://127.0.0.1:{self._port}"

    def worker(self) -> Process:
        address = f"tcp://127.0.0.1:{self._port}"
        return self._start("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard")

    def _start(self, *words: str) -> Process:
        variables = {**self._scene.on("cluster"), **_SCHEDULER}
        return self._scene.start(sys.executable, "-m", "dask", *words, **variables)


@asynccontextmanager
async def a_cluster(scene: StoredScene) -> AsyncIterator[Cluster]:
    cluster = Cluster(scene, next(free_ports(1)))
    yield cluster


async def a_running_shard(cluster: Cluster) -> tuple[Process, int]:
    """The worker that runs a shard, and the shard's process."""
    while True:
        for worker in cluster.workers:
            for shard in shard_processes(worker):
                return worker, shard
        await asyncio.sleep(0.05)


async def test_a_run_survives_a_killed_worker_and_a_frozen_one(
    tmp_path: Path, s3: S3Server
) -> None:
    with a_run(tmp_path, s3, budget=60, jobs=12) as scene:
        async with a_cluster(scene) as cluster:
            words = ("--on", cluster.address, "--divide", "4", "--out-dir", s3.url)
            run = scene.command("main", "run", "spring.yaml", *words)
            await scene.until_bought(4)
            killed, shard = await a_running_shard(cluster)
            killed.kill()
            os.kill(shard, signal.SIGKILL)
            cluster.workers.remove(killed)
            cluster.workers.append(cluster.worker())
            frozen, shard = await a_running_shard(cluster)
            frozen.send(signal.SIGSTOP)
            os.kill(shard, signal.SIGSTOP)
            assert await run.ended() == 0, run.log
            frozen.send(signal.SIGCONT)
            os.kill(shard, signal.SIGCONT)
            scene.check_ledger()
            scene.check_pictures(12)


async def test_a_run_survives_the_end_of_its_scheduler(tmp_path: Path, s3: S3Server) -> None:
    with a_run(tmp_path, s3, budget=60, jobs=12) as scene:
        async with a_cluster(scene) as cluster:
            words = ("--on", cluster.address, "--divide", "4", "--out-dir", s3.url)
            run = scene.command("main", "run", "spring.yaml", *words)
            await scene.until_bought(4)
            for process in (*cluster.workers, cluster.scheduler):
                process.kill()
            again = Cluster(scene, int(cluster.address.rpartition(":")[2]))
            assert await run.ended() == 0, run.log
            assert again.address == cluster.address
            scene.check_ledger()
            scene.check_pictures(12)
