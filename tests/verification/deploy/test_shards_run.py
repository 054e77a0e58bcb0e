"""The Slurm script and the Indexed Job, run on the sandbox as their schedulers would start them."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import pytest

from tests.harness.commands import KEY, clean_environment, running_sandbox
from tests.harness.forked_commands import COMMAND
from tests.verification.deploy.files import SLURM, pod_command

MANIFEST = """\
version: 1
name: winter
workflow: zimage-base
budget: {credits: 30, max_credits_per_job: 3}
jobs:
  - {name: window, prompt: a shop window, repeat: 8}
"""
_OPENER = build_opener(ProxyHandler({}))


def variables(**more: str) -> dict[str, str]:
    """Return an environment in which the installed command is found, and the key is not."""
    path = f"{Path(COMMAND).parent}:{os.environ['PATH']}"
    return clean_environment(**{"PATH": path, **more})


def started(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=folder,
        env=variables(**more),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def lines_of_the_script() -> list[list[str]]:
    """Return the commands in the head of the Slurm script."""
    text = SLURM.read_text(encoding="utf-8")
    return [shlex.split(line) for line in re.findall(r"^#   (.+)$", text, flags=re.MULTILINE)]


def bought(gateway: str) -> list[str]:
    with _OPENER.open(gateway.partition("/api/")[0] + "/_sandbox/state") as answer:
        return [job["idempotency_key"] for job in json.loads(answer.read())["jobs"]]


def report(folder: Path) -> Any:
    return json.loads((folder / "outputs/winter/default/report.json").read_text(encoding="utf-8"))


def planned(folder: Path, gateway: str) -> None:
    """Write the manifest and the key into a folder, and the plan as the script's head describes."""
    (folder / "winter.yaml").write_text(MANIFEST, encoding="utf-8")
    (folder / ".env").write_text(
        f"MOLTAZINE_API_KEY={KEY}\nCRUCIBLE_API_BASE={gateway}\n", encoding="utf-8"
    )
    plan = ["2" if word == "8" else word for word in lines_of_the_script()[0]]
    done = started(folder, *plan)
    assert done.returncode == 0, done.stderr


def merged(folder: Path, gateway: str) -> None:
    """Merge as the script's head describes; all jobs were bought once."""
    merge = shlex.split(lines_of_the_script()[2][-1])
    done = started(folder, *merge)
    assert done.returncode == 0, done.stderr
    found = report(folder)
    assert (found["counts"]["succeeded"], Decimal(found["credits"]["held"])) == (8, 0)
    keys = bought(gateway)
    assert (len(keys), len(set(keys))) == (8, 8)


@pytest.fixture
def gateway() -> Iterator[str]:
    with running_sandbox("--time-scale", "0") as url:
        yield url


def test_the_tasks_of_slurm_run_each_shard_once(tmp_path: Path, gateway: str) -> None:
    planned(tmp_path, gateway)
    for task in ("1", "2"):
        done = started(tmp_path, "sh", str(SLURM), "plan.json", SLURM_ARRAY_TASK_ID=task)
        assert done.returncode == 0, done.stderr
    merged(tmp_path, gateway)


def test_a_script_that_is_not_an_array_job_spends_nothing(tmp_path: Path, gateway: str) -> None:
    planned(tmp_path, gateway)
    before = bought(gateway)
    done = started(tmp_path, "sh", str(SLURM), "plan.json")
    assert done.returncode == 2
    assert "sbatch --array=1-8" in done.stderr
    assert bought(gateway) == before


def test_the_signal_before_the_time_limit_stops_the_run_in_good_order(tmp_path: Path) -> None:
    with running_sandbox("--time-scale", "1") as gateway:
        planned(tmp_path, gateway)
        before = len(bought(gateway))
        words = ["sh", str(SLURM), "plan.json"]
        environment = variables(SLURM_ARRAY_TASK_ID="1")
        with (tmp_path / "log").open("wb") as log:
            task = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        while len(bought(gateway)) == before:  # the suite's limit ends a hang
            assert task.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        task.send_signal(signal.SIGTERM)
        assert task.wait() == 143, (tmp_path / "log").read_text()
        for number in ("1", "2"):
            done = started(tmp_path, *words, SLURM_ARRAY_TASK_ID=number)
            assert done.returncode == 0, done.stderr
        merged(tmp_path, gateway)


def test_the_pods_of_the_indexed_job_run_each_shard_once(tmp_path: Path, gateway: str) -> None:
    planned(tmp_path, gateway)
    command = pod_command("shards.yaml")
    for index in ("0", "1"):
        done = started(tmp_path, COMMAND, *command.words, JOB_COMPLETION_INDEX=index)
        assert done.returncode == 0, done.stderr
        assert all(json.loads(line) for line in done.stderr.splitlines()), "the log is JSON"
    merged(tmp_path, gateway)
