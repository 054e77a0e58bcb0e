"""A plan goes through its file unchanged and in order."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.core.gateway_types import AssetSpec
from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.journal import PlanFile


def test_jobs_come_back_equal_and_in_manifest_order(ground: Any) -> None:
    jobs = [ground.planned(f"job-{number}", number) for number in range(20)]
    with PlanFile.temporary() as plan:
        assert len(plan) == 0
        plan.fill(iter(jobs))
        assert list(plan.jobs()) == jobs
        assert len(plan) == 20


def test_a_plan_leaves_nothing_behind_however_its_process_ends(tmp_path: Path) -> None:
    program = """
import os, sys
from crucible_batch.core.plan import PlannedJob
from crucible_batch.journal import PlanFile

def planned(number):
    identity = str(number)
    return PlannedJob(number, identity=identity, name="n" * 1000, workflow_id="w", params={})

with PlanFile.temporary() as plan:
    plan.fill(planned(number) for number in range(5000))
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_one_identity_has_one_place(ground: Any) -> None:
    with PlanFile.temporary() as plan, pytest.raises(sqlite3.IntegrityError):
        plan.fill([ground.planned("a", 0), ground.planned("a", 1)])


def test_a_plan_knows_whether_a_job_has_an_image() -> None:
    fox = PlannedJob(
        position=0, identity="a" * 64, name="fox", workflow_id="w", params={"images": {"x": 1}}
    )
    image = InputImage(AssetSpec("ee" * 32, 70, "image/png", "a.png"), Path("a.png"))
    owl = PlannedJob(
        position=1,
        identity="b" * 64,
        name="owl",
        workflow_id="w",
        params={},
        images={"image": image},
    )
    for jobs, has_images in (([], False), ([fox], False), ([fox, owl], True)):
        with PlanFile.temporary() as plan:
            plan.fill(jobs)
            assert plan.has_images() is has_images
