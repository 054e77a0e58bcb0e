"""Shards with a real S3 server, on machines that share nothing else.

The judge is the gateway's ledger.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.harness.commands import running_sandbox
from tests.harness.forked_commands import COMMAND
from tests.verification.objectstore.conftest import CANARIES, S3Server, SharedFolder
from tests.verification.objectstore.scene import PRICE, Process, Scene


@dataclass
class StoredScene(Scene):
    """A scene whose run is in an object store. Each machine has a state directory of its own."""

    s3: S3Server | SharedFolder | None = None

    def on(self, machine: str) -> dict[str, str]:
        assert self.s3 is not None
        return {**self.s3.variables(), "XDG_STATE_HOME": str(self.folder / machine)}

    def write(self, jobs: int, *, ceiling: str = "2", period: str = "") -> None:
        super().write(jobs, ceiling=ceiling, period=period)
        manifest = self.folder / "spring.yaml"
        manifest.write_text(f"{manifest.read_text()}concurrency: 1\n")

    @property
    def report(self) -> dict[str, Any]:
        assert self.s3 is not None
        return dict(json.loads(self.s3.read("report.json")))

    def command(self, machine: str, *words: str) -> Process:
        return self.start(COMMAND, *words, **self.on(machine))

    def check_pictures(self, jobs: int) -> None:
        assert self.s3 is not None
        names = self.s3.names()
        assert len([name for name in names if name.endswith(".png")]) == jobs == len(self.bought())
        for job in self.report["jobs"]:
            assert [output["path"] in names for output in job["outputs"]] == [True] * (
                job["status"] == "succeeded"
            )

    def check_silence(self) -> None:
        """No process printed a credential of the store, and no object of a log has one."""
        printed = "".join(each.log + each.out.read_text() for each in self.processes)
        assert not any(canary in printed for canary in CANARIES)


@contextmanager
def playing(folder: Path, budget: int, s3: S3Server | SharedFolder) -> Iterator[StoredScene]:
    with running_sandbox("--time-scale", "0.3") as url:
        scene = StoredScene(folder, url, Decimal(budget), s3=s3)
        try:
            yield scene
        finally:
            scene.end_processes()


async def test_shards_of_lost_machines_are_continued_elsewhere_and_merged(
    tmp_path: Path, s3: S3Server
) -> None:
    """The allowance is not enough for all jobs."""
    with playing(tmp_path, 24, s3) as scene:
        scene.write(20)
        planned = scene.command(
            "main",
            "plan",
            "spring.yaml",
            "--shards",
            "2",
            "--probe",
            "-o",
            "plan.json",
            "--out-dir",
            s3.url,
        )
        assert await planned.ended() == 0, planned.log
        assert f"crucible-batch merge {s3.url}" in planned.out.read_text()
        for machine, bought in (("first", 3), ("second", 4)):  # one of them by the probe
            shard = scene.command(machine, "run", "plan.json", "--shard", "1/2")
            await scene.until_bought(bought)
            shard.kill()
            shutil.rmtree(tmp_path / machine)
        early = scene.command("main", "merge", s3.url, "--abandon", "2")
        assert await early.ended() == 2
        assert "has not ended" in early.log
        for number in (1, 2):
            shard = scene.command("third", "run", "plan.json", "--shard", f"{number}/2")
            assert await shard.ended() == 4, shard.log
        merged = scene.command("main", "merge", s3.url)
        assert await merged.ended() == 4, merged.log
        scene.check_ledger()
        scene.check_pictures(24 // int(PRICE))
        checked = scene.command("main", "check", s3.url)
        assert await checked.ended() == 0, checked.log
        late = scene.command("fourth", "run", "plan.json", "--shard", "1/2")
        assert await late.ended() == 2
        assert "are merged" in late.log
        assert not list(tmp_path.rglob("*.png"))
        scene.check_silence()
