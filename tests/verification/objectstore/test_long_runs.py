"""600 jobs on many processes, while everything that can stop is stopped.

The gateway loses answers and refuses requests; workers are killed and frozen, the coordinator is
killed ten times, and the store is restarted. The judge is the gateway's ledger.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.commands import running_sandbox
from tests.verification.objectstore.conftest import S3Server
from tests.verification.objectstore.scene import PRICE, Process, Scene
from tests.verification.objectstore.test_directory_machines import SharedScene
from tests.verification.objectstore.test_s3_machines import a_shard_process, shard_processes
from tests.verification.objectstore.test_s3_shards import StoredScene

pytestmark = pytest.mark.slow
JOBS, BOUGHT, KILLS = 600, 520, 10
FAULTS = "generate.drop-after:0.02,generate.500-after:0.02,429:0.02,503-before:0.01"
AWAY_S, FROZEN_S = 5.0, 25.0
LIMIT_S = 1500


@contextmanager
def gateway() -> Iterator[str]:
    options = ("--time-scale", "0.3", "--runners", "12", "--credits", "5000", "--faults", FAULTS)
    with running_sandbox(*options) as url:
        yield url


async def test_600_jobs_in_a_directory(tmp_path: Path) -> None:
    with gateway() as url:
        scene = SharedScene(tmp_path, url, BOUGHT * PRICE)
        try:
            scene.write(JOBS)
            async with asyncio.timeout(LIMIT_S):
                await _play(scene, str(scene.run_dir), None)
            scene.check_ledger()
            scene.check_pictures(BOUGHT)
        finally:
            scene.end_processes()


async def test_600_jobs_in_an_object_store(tmp_path: Path, s3: S3Server) -> None:
    with gateway() as url:
        scene = StoredScene(tmp_path, url, BOUGHT * PRICE, s3=s3)
        try:
            scene.write(JOBS)
            async with asyncio.timeout(LIMIT_S):
                await _play(scene, s3.url, s3)
            scene.check_ledger()
            scene.check_pictures(BOUGHT)
        finally:
            scene.end_processes()


async def _play(scene: SharedScene | StoredScene, place: str, s3: S3Server | None) -> None:
    """Run until the budget is spent. What is stopped is stopped at even distances."""
    words = ("run", "spring.yaml", "--on", "workers:4", "--divide", "8", "--out-dir", place)
    workers = {name: scene.command(name, "worker", place) for name in "abcd"}
    step = BOUGHT // (KILLS + 2)
    coordinator = scene.command("main", *words)
    for number in range(1, KILLS + 1):
        await _until_bought(scene, coordinator, number * step)
        coordinator.kill()
        if number == 3:
            workers["a"] = await _replaced(scene, workers["a"], place, "a")
        elif number == 5:
            asyncio.get_running_loop().create_task(_frozen(workers["b"]))
        elif number == 7 and s3 is not None:
            await asyncio.to_thread(s3.restart, AWAY_S)
        elif number == 8:
            workers["c"] = await _replaced(scene, workers["c"], place, "c")
        coordinator = scene.command("main", *words)
    assert await coordinator.ended() == 4, coordinator.log
    for worker in workers.values():
        worker.send(signal.SIGTERM)
    for worker in workers.values():
        assert await worker.ended() == 0, worker.log


async def _until_bought(scene: Scene, coordinator: Process, count: int) -> None:
    """Wait for so many purchases, or for the end of a run that needs no further one."""
    while len(await asyncio.to_thread(scene.bought)) < count:
        assert coordinator.process.poll() is None, coordinator.log
        await asyncio.sleep(0.2)


async def _replaced(
    scene: SharedScene | StoredScene, worker: Process, place: str, name: str
) -> Process:
    """Kill a worker and its shard at the same moment, and start another one on its machine."""
    child = await a_shard_process(worker)
    worker.kill()
    os.kill(child, signal.SIGKILL)
    return scene.command(name, "worker", place)


async def _frozen(worker: Process) -> None:
    """Freeze the shard of a worker for longer than its log may be silent."""
    for child in shard_processes(worker):
        os.kill(child, signal.SIGSTOP)
        await asyncio.sleep(FROZEN_S)
        os.kill(child, signal.SIGCONT)
