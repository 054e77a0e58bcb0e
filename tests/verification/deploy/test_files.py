"""The files below ``docs/deploy`` in the tools that read them: the schema of Kubernetes,
ShellCheck.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from crucible_batch.settings import KEY_VARIABLE
from tests.harness.forked_commands import COMMAND
from tests.verification.deploy.files import (
    AWS_BATCH,
    DEPLOY,
    KUBERNETES,
    ROOT,
    SLURM,
    Command,
    check,
    commands,
    faults_of_job,
    kubernetes_accepts,
    pods,
    resources,
)


def test_kubernetes_accepts_the_objects_and_not_a_planted_fault(tmp_path: Path) -> None:
    assert kubernetes_accepts(*KUBERNETES) == ""
    planted = tmp_path / "planted.yaml"
    text = KUBERNETES[0].read_text(encoding="utf-8")
    planted.write_text(text.replace("runAsNonRoot", "runAsNonroot"), encoding="utf-8")
    assert "runAsNonroot" in kubernetes_accepts(planted)


@pytest.mark.parametrize("file", [name for name, _ in pods()])
def test_a_pod_has_the_shared_volume_the_secret_and_no_more_rights(file: str) -> None:
    ((_, spec),) = [found for found in pods() if found[0] == file]
    (container,) = spec["containers"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "crucible-batch"}} in spec[
        "volumes"
    ]
    assert {"name": "data", "mountPath": "/data"} in container["volumeMounts"], (
        "the same path in each pod"
    )
    assert container["envFrom"] == [{"secretRef": {"name": "crucible-batch"}}]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert spec["automountServiceAccountToken"] is False
    assert spec["terminationGracePeriodSeconds"] == 120


def test_the_claim_of_the_pods_is_one_of_the_files() -> None:
    objects = [each for path in KUBERNETES for each in resources(path)]
    claims = [each for each in objects if each["kind"] == "PersistentVolumeClaim"]
    assert [each["metadata"]["name"] for each in claims] == ["crucible-batch"]
    assert claims[0]["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_linter_of_shell_scripts_finds_no_fault(tmp_path: Path) -> None:
    done = check("shellcheck", "--severity=style", SLURM)
    assert (done.returncode, done.stdout) == (0, "")
    planted = tmp_path / SLURM.name
    planted.write_text(SLURM.read_text(encoding="utf-8").replace('sbatch $0"', 'sbatch "$0'))
    assert check("shellcheck", "--severity=style", planted).returncode == 1


def test_the_model_of_aws_accepts_the_request_and_not_a_planted_fault() -> None:
    request = json.loads(AWS_BATCH.read_text(encoding="utf-8"))
    assert faults_of_job(request) == ""
    request["retryStrategy"]["evaluateOnExit"][0]["onExitcode"] = "1"
    assert "onExitcode" in faults_of_job(request)


@pytest.mark.parametrize("command", commands(), ids=str)
def test_a_command_has_options_and_variables_that_exist(command: Command) -> None:
    done = subprocess.run(
        [
            COMMAND,
            command.words[0],
            "--help-all" if command.words[0] in {"run", "plan"} else "--help",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200"},
    )
    options = {word for word in command.words if word.startswith("--")}
    assert options <= set(re.findall(r"--[a-z-]+", done.stdout))
    assert set(command.variables) <= {"HOME", "XDG_STATE_HOME"}


def test_the_pages_describe_each_file_and_the_key() -> None:
    pages = [ROOT / "docs" / name for name in ("machines.md", "metrics.md")]
    page = "".join(path.read_text(encoding="utf-8") for path in pages)
    for path in (*KUBERNETES, SLURM, AWS_BATCH, DEPLOY / "alerts.yml"):
        assert f"](deploy/{path.relative_to(DEPLOY)})" in page
    assert KEY_VARIABLE in page
