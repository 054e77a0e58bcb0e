"""What ``plan --export`` writes, run on the sandbox as the batch systems would start it."""

from __future__ import annotations

import json
import os
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
from tests.verification.deploy.files import (
    aws_command,
    check,
    container_command,
    faults_of_job,
    kubernetes_accepts,
    resources,
)

MANIFEST = """\
version: 1
name: winter
workflow: zimage-base
budget: {credits: 30, max_credits_per_job: 3}
jobs:
  - {name: window, prompt: a shop window, repeat: 8}
"""
EXPORTED = "it's $(id); a `folder`"
"""Its name means something to shells."""
_OPENER = build_opener(ProxyHandler({}))


def variables(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment in which the installed command is found, and the key is not.

    State and temporary files are in the folder, as if it were on a machine of its own.
    """
    path = f"{Path(COMMAND).parent}:{os.environ['PATH']}"
    ours = {"PATH": path, "XDG_STATE_HOME": str(folder / "state"), "TMPDIR": str(folder)}
    return clean_environment(**{**ours, **more})


def started(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=folder,
        env=variables(folder, **more),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def bought(gateway: str) -> list[str]:
    with _OPENER.open(gateway.partition("/api/")[0] + "/_sandbox/state") as answer:
        return [job["idempotency_key"] for job in json.loads(answer.read())["jobs"]]


def report(folder: Path) -> Any:
    return json.loads((folder / "outputs/winter/default/report.json").read_text(encoding="utf-8"))


def planned(folder: Path, gateway: str, to: str = "slurm", *options: str) -> None:
    """Write the manifest and the key into a folder, and export the plan for two shards."""
    (folder / "winter.yaml").write_text(MANIFEST, encoding="utf-8")
    (folder / ".env").write_text(
        f"MOLTAZINE_API_KEY={KEY}\nCRUCIBLE_API_BASE={gateway}\n", encoding="utf-8"
    )
    words = ("plan", "winter.yaml", "--shards", "2", "--probe", "--export", to, *options)
    done = started(folder, COMMAND, *words, "-o", EXPORTED)
    assert done.returncode == 0, done.stderr


def merged(folder: Path, gateway: str) -> None:
    """Merge the shards; all jobs were bought once."""
    done = started(folder, COMMAND, "merge", "outputs/winter/default")
    assert done.returncode == 0, done.stderr
    found = report(folder)
    assert (found["counts"]["succeeded"], Decimal(found["credits"]["held"])) == (8, 0)
    keys = bought(gateway)
    assert (len(keys), len(set(keys))) == (8, 8)


def task_words(folder: Path) -> list[str]:
    return ["sh", str(folder / EXPORTED / "shards.sbatch")]


@pytest.fixture
def gateway() -> Iterator[str]:
    with running_sandbox("--time-scale", "0") as url:
        yield url


def test_the_tasks_of_slurm_run_each_shard_once(tmp_path: Path, gateway: str) -> None:
    planned(tmp_path, gateway)
    elsewhere = tmp_path / "submitted from here"
    elsewhere.mkdir()
    for task in ("1", "2"):
        done = started(elsewhere, *task_words(tmp_path), SLURM_ARRAY_TASK_ID=task)
        assert done.returncode == 0, done.stderr
    merged(tmp_path, gateway)


def test_a_script_that_is_not_an_array_job_spends_nothing(tmp_path: Path, gateway: str) -> None:
    planned(tmp_path, gateway)
    before = bought(gateway)
    done = started(tmp_path, *task_words(tmp_path))
    assert done.returncode == 2
    assert "submit this script to Slurm: sbatch" in done.stderr
    assert bought(gateway) == before


def test_the_signal_before_the_time_limit_stops_the_run_in_good_order(tmp_path: Path) -> None:
    with running_sandbox("--time-scale", "1") as gateway:
        planned(tmp_path, gateway)
        before = len(bought(gateway))
        words = task_words(tmp_path)
        environment = variables(tmp_path, SLURM_ARRAY_TASK_ID="1")
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
    planned(tmp_path, gateway, "kubernetes", "--image", "registry.example/batch:1")
    (job,) = resources(tmp_path / EXPORTED / "shards.yaml")
    command = container_command("shards.yaml", job["spec"]["template"]["spec"])
    for index in ("0", "1"):
        done = started(tmp_path, COMMAND, *command.words, JOB_COMPLETION_INDEX=index)
        assert done.returncode == 0, done.stderr
        assert all(json.loads(line) for line in done.stderr.splitlines()), "the log is JSON"
    merged(tmp_path, gateway)


def test_the_containers_of_an_array_of_aws_run_each_shard_once(
    tmp_path: Path, gateway: str
) -> None:
    options = ("--job-queue", "images", "--job-definition", "batch:1")
    planned(tmp_path, gateway, "aws-batch", *options)
    command = aws_command(tmp_path / EXPORTED / "shards.json")
    for index in ("0", "1"):
        done = started(tmp_path, COMMAND, *command.words, AWS_BATCH_JOB_ARRAY_INDEX=index)
        assert done.returncode == 0, done.stderr
    merged(tmp_path, gateway)


HOSTILE = ("it's", 'a "quoted" $HOME `id`', "a: {b} #c", "Grüße 写真", "$(HOME)", "%h & * [x]")


@pytest.mark.parametrize("name", HOSTILE)
def test_the_real_tools_accept_what_is_exported_from_and_into_any_folder(
    tmp_path: Path, gateway: str, name: str
) -> None:
    here = tmp_path / name
    here.mkdir()
    (here / "winter.yaml").write_text(MANIFEST, encoding="utf-8")
    exports = {
        "slurm": (),
        "kubernetes": ("--image", f"registry/{name}"),
        "aws-batch": ("--job-queue", name, "--job-definition", name),
    }
    for to, options in exports.items():
        words = ("plan", "winter.yaml", "--shards", "2", "--export", to, *options, "-o", name)
        done = started(here, COMMAND, *words, MOLTAZINE_API_KEY=KEY, CRUCIBLE_API_BASE=gateway)
        assert done.returncode == 0, done.stderr
    folder = here / name
    # It notes that $ in quotes is not expanded.
    done = check("shellcheck", "--severity=style", "--exclude=SC2016", folder / "shards.sbatch")
    assert (done.returncode, done.stdout) == (0, "")
    last = folder.joinpath("shards.sbatch").read_text(encoding="utf-8").splitlines()
    assert shlex.join(["cd", "--", str(here)]) in last
    assert shlex.split(last[-1])[3] == f"{name}/plan.json"
    objects = [folder / "shards.yaml", folder / "volume.yaml"]
    assert kubernetes_accepts(*objects) == ""
    (job,) = resources(objects[0])
    spec = job["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == f"registry/{name}"
    assert container_command("pod", spec).words[1] == f"{name}/plan.json"
    assert faults_of_job(json.loads((folder / "shards.json").read_text(encoding="utf-8"))) == ""
    assert aws_command(folder / "shards.json").words[1] == f"{name}/plan.json"
