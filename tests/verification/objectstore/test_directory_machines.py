"""A run on many processes with a directory that they share, and nothing else.

The judge is the gateway's ledger.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from tests.harness.commands import KEY, running_sandbox
from tests.harness.forked_commands import COMMAND
from tests.verification.objectstore.scene import Process, Scene
from tests.verification.objectstore.test_s3_machines import (
    a_shard_process,
    shard_processes,
    until_gone,
)

LOCAL = ("run", "spring.yaml", "--on", "local:2", "--divide", "2")


class SharedScene(Scene):
    """All machines see the folder. Each has a state directory of its own."""

    def write(self, jobs: int, *, ceiling: str = "2", period: str = "") -> None:
        super().write(jobs, ceiling=ceiling, period=period)
        manifest = self.folder / "spring.yaml"
        manifest.write_text(f"{manifest.read_text()}concurrency: 1\n")

    def command(self, machine: str, *words: str, **more: str) -> Process:
        state = str(self.folder / machine)
        return self.start(COMMAND, *words, **{"XDG_STATE_HOME": state, **more})

    def logs(self) -> list[Path]:
        return sorted(self.run_dir.glob(".crucible/shards/*/*/0*.json"))

    def check_pictures(self, jobs: int) -> None:
        """All pictures are below the run directory, and no journal of a shard is."""
        assert len(list(self.folder.rglob("*.png"))) == jobs == len(self.bought())
        assert len(list(self.run_dir.rglob("*.png"))) == jobs
        journals = list(self.run_dir.rglob("journal.sqlite3"))
        assert journals == [self.run_dir / ".crucible" / "journal.sqlite3"]


@contextmanager
def a_run(folder: Path, *, budget: int, jobs: int) -> Iterator[SharedScene]:
    with running_sandbox("--time-scale", "0.3") as url:
        scene = SharedScene(folder, url, Decimal(budget))
        scene.write(jobs)
        try:
            yield scene
        finally:
            scene.end_processes()


async def test_a_shard_that_is_requeued_while_its_first_process_is_frozen_keeps_its_allowance(
    tmp_path: Path,
) -> None:
    """As by Slurm or Kubernetes: the plan, the array's index, and a local disk on each node."""
    with a_run(tmp_path, budget=16, jobs=20) as scene:
        plan = ("plan", "spring.yaml", "--shards", "1", "--probe", "-o", "plan.json")
        planned = scene.command("main", *plan)
        assert await planned.ended() == 0, planned.log
        shard = ("run", "plan.json", "--shard", "1/1")
        first = scene.command("first", *shard, "--out-dir", "first-disk")
        await scene.until_bought(3)
        first.send(signal.SIGSTOP)
        second = scene.command("second", *shard, "--out-dir", "second-disk")
        assert await second.ended() == 4, second.log
        before = scene.bought()
        first.send(signal.SIGCONT)
        assert await first.ended() != 0
        assert "another process continues shard 1/1" in first.log
        assert scene.bought() == before
        merged = scene.command("main", "merge", str(scene.run_dir))
        assert await merged.ended() == 4, merged.log
        scene.check_ledger()
        assert len(before) == 8


async def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    with a_run(tmp_path, budget=60, jobs=16) as scene:
        run = scene.command("main", *LOCAL)
        victim = await a_shard_process(run)
        await scene.until_bought(4)
        os.kill(victim, signal.SIGKILL)
        assert await run.ended() == 0, run.log
        scene.check_ledger()
        scene.check_pictures(16)


async def test_a_killed_coordinator_leaves_no_process_and_the_same_command_continues(
    tmp_path: Path,
) -> None:
    with a_run(tmp_path, budget=24, jobs=16) as scene:
        run = scene.command("main", *LOCAL)
        await a_shard_process(run)
        await scene.until_bought(4)
        orphans = shard_processes(run)
        run.kill()
        await until_gone(orphans)
        again = scene.command("main", *LOCAL)
        assert await again.ended() == 4, again.log
        scene.check_ledger()
        scene.check_pictures(12)


async def test_workers_take_the_shards_and_one_takes_over_what_a_killed_one_left(
    tmp_path: Path,
) -> None:
    """The workers wait for a directory that is not there yet."""
    with a_run(tmp_path, budget=120, jobs=40) as scene:
        place = str(scene.run_dir)
        workers = [scene.command(name, "worker", place) for name in ("first", "second")]
        run = scene.command("main", "run", "spring.yaml", "--on", "workers:2", "--divide", "3")
        await scene.until_bought(4)
        paused = scene.command("main", "ctl", place, "pause")
        assert await paused.ended() == 0, paused.log
        assert "pause is stored for all 3 shards" in paused.out.read_text()
        before = scene.bought()
        assert len(before) < 40
        resumed = scene.command("main", "ctl", place, "resume")
        assert await resumed.ended() == 0, resumed.log
        children = shard_processes(workers[0])
        workers[0].kill()
        for child in children:
            os.kill(child, signal.SIGKILL)
        assert await run.ended() == 0, run.log
        scene.check_ledger()
        scene.check_pictures(40)
        workers[1].send(signal.SIGTERM)
        assert await workers[1].ended() == 0, workers[1].log


async def test_the_processes_have_the_key_and_the_gateway_of_the_command(tmp_path: Path) -> None:
    """They are in a file that only the command was given."""
    with a_run(tmp_path, budget=24, jobs=4) as scene:
        secret = tmp_path / "key.env"
        secret.write_text(f"MOLTAZINE_API_KEY={KEY}\nCRUCIBLE_API_BASE={scene.gateway}\n")
        without = {"MOLTAZINE_API_KEY": "", "CRUCIBLE_API_BASE": ""}
        run = scene.command("main", *LOCAL, "--env-file", "key.env", **without)
        assert await run.ended() == 0, run.log
        assert "can't be run here" not in run.log
        scene.check_ledger()
        scene.check_pictures(4)


async def test_the_demo_kills_one_of_its_processes_and_shows_the_ledger(tmp_path: Path) -> None:
    scene = SharedScene(tmp_path, "", Decimal(80))
    demo = scene.command("main", "demo", "--on", "local:3", "--no-open", MOLTAZINE_API_KEY="")
    assert await demo.ended() == 0, demo.log
    assert "killed process" in demo.log
    printed = demo.out.read_text()
    assert "the gateway charged 30 jobs, each once: 66 credits, as the report has" in printed
    assert len(list((tmp_path / "outputs/demo/default").glob("*/*.*"))) > 30


async def test_the_demo_is_refused_on_what_has_no_process_to_kill(tmp_path: Path) -> None:
    scene = SharedScene(tmp_path, "", Decimal(80))
    for engine in ("local:1", "workers:3", "nonsense"):
        demo = scene.command("main", "demo", "--on", engine, "--no-open")
        assert await demo.ended() == 2, demo.log
        assert "local:3" in demo.log or "local:4" in demo.log


async def test_a_run_with_rejections_is_not_divided_and_buys_them_again(tmp_path: Path) -> None:
    with a_run(tmp_path, budget=24, jobs=4) as scene:
        run = scene.command("main", *LOCAL)
        assert await run.ended() == 0, run.log
        rejected = scene.command("main", "reject", str(scene.run_dir), "fox-2")
        assert await rejected.ended() == 0, rejected.log
        again = scene.command("main", *LOCAL)
        assert await again.ended() == 0, again.log
        assert "is not divided" in again.log
        scene.check_ledger()
        assert len(scene.bought()) == 5


async def test_a_frozen_process_is_replaced_in_its_place(tmp_path: Path) -> None:
    with a_run(tmp_path, budget=60, jobs=12) as scene:
        run = scene.command("main", "run", "spring.yaml", "--on", "local:1", "--divide", "1")
        victim = await a_shard_process(run)
        await scene.until_bought(4)
        os.kill(victim, signal.SIGSTOP)
        async with asyncio.timeout(120):
            assert await run.ended() == 0, run.log
        scene.check_ledger()
        scene.check_pictures(12)


async def test_an_edited_manifest_does_not_continue_the_shards_of_the_former_one(
    tmp_path: Path,
) -> None:
    with a_run(tmp_path, budget=60, jobs=12) as scene:
        run = scene.command("main", *LOCAL)
        await a_shard_process(run)
        await scene.until_bought(3)
        run.send(signal.SIGINT)
        assert await run.ended() == 130, run.log
        before = scene.bought()
        manifest = tmp_path / "spring.yaml"
        manifest.write_text(manifest.read_text().replace("prompt: a ", "prompt: the "))
        edited = scene.command("main", *LOCAL)
        assert await edited.ended() == 2, edited.log
        assert scene.bought() == before
        hint = edited.log.partition("as they were divided: ")[2].partition(";")[0]
        for command in hint.split(", and then "):
            printed = scene.command("main", *shlex.split(command)[1:])
            assert await printed.ended() in {0, 4}, printed.log
        assert len(scene.bought()) == 12
        new = scene.command("main", *LOCAL)
        assert await new.ended() == 0, new.log
        scene.check_ledger()
        assert len(scene.bought()) == 24
