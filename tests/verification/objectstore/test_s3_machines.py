"""A run on many processes with a real S3 server. The judge is the gateway's ledger."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.verification.objectstore.conftest import S3Server
from tests.verification.objectstore.scene import Process
from tests.verification.objectstore.test_s3_shards import StoredScene, playing


def shard_processes(process: Process) -> list[int]:
    """The ids of the child processes that run shards."""
    found = list[int]()
    for task in Path(f"/proc/{process.process.pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return [child for child in found if b"shard_process" in _command_of(child)]


def _command_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


async def a_shard_process(process: Process) -> int:
    while not (found := shard_processes(process)):
        await asyncio.sleep(0.05)
    return found[0]


async def until_gone(processes: list[int]) -> None:
    async with asyncio.timeout(30):
        while any(b"shard_process" in _command_of(process) for process in processes):
            await asyncio.sleep(0.05)


@contextmanager
def a_run(folder: Path, s3: S3Server, *, budget: int, jobs: int) -> Iterator[StoredScene]:
    with playing(folder, budget, s3) as scene:
        scene.write(jobs)
        yield scene


async def test_a_run_on_local_processes_buys_each_job_once(tmp_path: Path, s3: S3Server) -> None:
    with a_run(tmp_path, s3, budget=60, jobs=20) as scene:
        run = scene.command(
            "main", "run", "spring.yaml", "--on", "local:3", "--divide", "5", "--out-dir", s3.url
        )
        assert await run.ended() == 0, run.log
        scene.check_ledger()
        scene.check_pictures(20)
        again = scene.command("main", "run", "spring.yaml", "--on", "local:3", "--out-dir", s3.url)
        assert await again.ended() == 0, again.log
        assert len(scene.bought()) == 20


async def test_what_the_shards_leave_of_the_budget_is_divided_again(
    tmp_path: Path, s3: S3Server
) -> None:
    with a_run(tmp_path, s3, budget=24, jobs=20) as scene:
        run = scene.command(
            "main", "run", "spring.yaml", "--on", "local:2", "--divide", "3", "--out-dir", s3.url
        )
        assert await run.ended() == 4, run.log
        scene.check_ledger()
        scene.check_pictures(12)


async def test_a_killed_process_is_started_again(tmp_path: Path, s3: S3Server) -> None:
    with a_run(tmp_path, s3, budget=60, jobs=16) as scene:
        run = scene.command(
            "main", "run", "spring.yaml", "--on", "local:2", "--divide", "2", "--out-dir", s3.url
        )
        victim = await a_shard_process(run)
        await scene.until_bought(4)
        os.kill(victim, signal.SIGKILL)
        assert await run.ended() == 0, run.log
        scene.check_ledger()
        scene.check_pictures(16)


async def test_a_killed_coordinator_leaves_no_process_and_the_same_command_continues(
    tmp_path: Path, s3: S3Server
) -> None:
    with a_run(tmp_path, s3, budget=60, jobs=16) as scene:
        words = ("run", "spring.yaml", "--on", "local:2", "--divide", "2", "--out-dir", s3.url)
        run = scene.command("main", *words)
        await a_shard_process(run)
        await scene.until_bought(4)
        orphans = shard_processes(run)
        run.kill()
        await until_gone(orphans)
        again = scene.command("main", *words)
        assert await again.ended() == 0, again.log
        scene.check_ledger()
        scene.check_pictures(16)


async def test_ctrl_c_winds_the_processes_down_and_the_same_command_continues(
    tmp_path: Path, s3: S3Server
) -> None:
    with a_run(tmp_path, s3, budget=60, jobs=16) as scene:
        words = ("run", "spring.yaml", "--on", "local:2", "--divide", "2", "--out-dir", s3.url)
        run = scene.command("main", *words)
        await a_shard_process(run)
        await scene.until_bought(4)
        run.send(signal.SIGINT)
        assert await run.ended() == 130, run.log
        assert "run the same command again" in run.log
        again = scene.command("main", *words)
        assert await again.ended() == 0, again.log
        scene.check_ledger()
        scene.check_pictures(16)


async def test_workers_take_the_shards_and_one_takes_over_what_a_killed_one_left(
    tmp_path: Path, s3: S3Server
) -> None:
    with a_run(tmp_path, s3, budget=60, jobs=16) as scene:
        workers = [scene.command(name, "worker", s3.url) for name in ("first", "second")]
        run = scene.command(
            "main", "run", "spring.yaml", "--on", "workers:2", "--divide", "3", "--out-dir", s3.url
        )
        await scene.until_bought(4)
        children = shard_processes(workers[0])
        workers[0].kill()
        for child in children:
            os.kill(child, signal.SIGKILL)
        assert await run.ended() == 0, run.log
        scene.check_ledger()
        scene.check_pictures(16)
        workers[1].send(signal.SIGTERM)
        assert await workers[1].ended() == 0, workers[1].log


async def test_the_containers_of_an_exported_run_need_nothing_but_the_store(
    tmp_path: Path, s3: S3Server
) -> None:
    with a_run(tmp_path, s3, budget=60, jobs=8) as scene:
        words = ("--shards", "3", "--export", "kubernetes", "--image", "batch:1", "-o", "exported")
        plan = scene.command("main", "plan", "spring.yaml", *words, "--out-dir", s3.url)
        assert await plan.ended() == 0, plan.log
        job = yaml.safe_load((tmp_path / "exported" / "shards.yaml").read_text())
        (container,) = job["spec"]["template"]["spec"]["containers"]
        (tmp_path / "exported" / "plan.json").unlink()
        pods = [scene.command(name, *container["args"]) for name in ("first", "second")]
        for pod in pods:
            assert await pod.ended() == 0, pod.log
        merge = scene.command("main", "merge", s3.url)
        assert await merge.ended() == 0, merge.log
        scene.check_ledger()
        scene.check_pictures(8)


async def test_a_run_that_ctl_stops_buys_nothing_more(tmp_path: Path, s3: S3Server) -> None:
    with a_run(tmp_path, s3, budget=160, jobs=80) as scene:
        words = ("run", "spring.yaml", "--on", "local:2", "--divide", "2", "--out-dir", s3.url)
        run = scene.command("main", *words)
        await scene.until_bought(3)
        ctl = scene.command("other", "ctl", s3.url, "stop")
        assert await ctl.ended() == 0, ctl.log
        bought = len(scene.bought())
        assert await run.ended() == 130, run.log
        assert len(scene.bought()) == bought < 80
        scene.check_ledger()
