"""The files below ``docs/deploy`` in the tools that read them: systemd, the schemas of Kubernetes and of Compose."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crucible_batch.cluster import DSN_VARIABLE
from crucible_batch.settings import ACCOUNTS_VARIABLE, KEY_VARIABLE
from tests.preloaded import COMMAND
from tests.verification.deploy.files import (
    COMPOSE,
    DEPLOY,
    KUBERNETES,
    ROOT,
    SLURM,
    UNITS,
    Command,
    commands,
    pods,
    resources,
    services,
    unit_values,
)

_WORKER = DEPLOY / "systemd" / "crucible-batch-worker.service"
_MOST_EXPOSED = 20
"""The limit of ``systemd-analyze security``, of 100: a service without any protection has 96."""


def check(program: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program that is installed beside Python."""
    found = str(Path(sys.executable).with_name(program))
    return subprocess.run([found, *map(str, words)], capture_output=True, text=True, check=False)


def analyzed(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze. These tests are about it: without it they fail."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.fail("units are tested with systemd, which is not installed (Debian: apt-get install systemd)")
    return subprocess.run([found, *map(str, words)], capture_output=True, text=True, check=False)


def installed(folder: Path, change: tuple[str, str] = ("", "")) -> list[Path]:
    """Copy the units to a folder, with the command of this environment and one planted change."""
    for path in UNITS:
        text = path.read_text(encoding="utf-8").replace("/opt/crucible-batch/bin/crucible-batch", COMMAND)
        (folder / path.name).write_text(text.replace(*change) if change[0] else text, encoding="utf-8")
    return [folder / path.name for path in UNITS]


def test_systemd_finds_no_fault_with_the_units(tmp_path: Path) -> None:
    done = analyzed("verify", *installed(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("change", [("KillMode=mixed", "KilMode=mixed"), ("PrivateTmp=true", "PrivateTmp=often")])
def test_systemd_finds_a_planted_fault(tmp_path: Path, change: tuple[str, str]) -> None:
    assert change[0] in _WORKER.read_text(encoding="utf-8")
    assert analyzed("verify", *installed(tmp_path, change)).stderr


@pytest.mark.parametrize("unit", [path for path in UNITS if path.suffix == ".service"], ids=lambda path: path.name)
def test_a_service_has_no_rights_that_it_does_not_need(unit: Path) -> None:
    done = analyzed("security", "--offline=yes", f"--threshold={_MOST_EXPOSED}", unit)
    assert done.returncode == 0, done.stdout


def test_the_service_of_workers_is_stopped_and_started_as_they_expect() -> None:
    """systemd must send one SIGTERM to the main process only: a second one ends a worker at once."""
    service = unit_values(_WORKER)["Service"]
    assert (service["KillMode"], service["KillSignal"]) == (["mixed"], ["SIGTERM"])
    assert service["Restart"] == ["on-failure"], "a drained worker ends with exit code 0"
    assert service["RestartPreventExitStatus"] == ["2 3"]
    assert "CRUCIBLE_BATCH_DSN" not in " ".join(service["ExecStart"]), "the list of processes has no password"


def test_kubernetes_accepts_the_objects_and_not_a_planted_fault(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kubernetes_validate", "--strict"]
    done = subprocess.run([*command, *map(str, KUBERNETES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    planted = tmp_path / "planted.yaml"
    text = KUBERNETES[0].read_text(encoding="utf-8")
    planted.write_text(text.replace("runAsNonRoot", "runAsNonroot"), encoding="utf-8")
    assert subprocess.run([*command, str(planted)], capture_output=True, check=False).returncode != 0


def test_the_manifests_in_the_objects_are_valid(tmp_path: Path) -> None:
    maps = [each for path in KUBERNETES for each in resources(path) if each["kind"] == "ConfigMap"]
    texts = {name: text for each in maps for name, text in each["data"].items()}
    assert set(texts) == {"spring.yaml", "nightly.yaml"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run([COMMAND, "validate", *texts], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", [path.name for path in KUBERNETES])
def test_a_pod_has_the_shared_volume_the_secret_and_no_more_rights(file: str) -> None:
    ((_, spec),) = [found for found in pods() if found[0] == file]
    (container,) = spec["containers"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "crucible-batch"}} in spec["volumes"]
    assert {"name": "data", "mountPath": "/data"} in container["volumeMounts"], "the same path in each pod"
    assert container["envFrom"] == [{"secretRef": {"name": "crucible-batch"}}]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert spec["automountServiceAccountToken"] is False
    assert spec["terminationGracePeriodSeconds"] == 120


def test_the_claim_of_the_pods_is_one_of_the_files() -> None:
    objects = [each for path in KUBERNETES for each in resources(path)]
    claims = [each for each in objects if each["kind"] == "PersistentVolumeClaim"]
    assert [each["metadata"]["name"] for each in claims] == ["crucible-batch"]
    assert claims[0]["spec"]["accessModes"] == ["ReadWriteMany"]


def test_compose_accepts_the_file_and_notices_a_planted_fault(tmp_path: Path) -> None:
    words = ("--builtin-schema", "vendor.compose-spec")
    assert check("check-jsonschema", *words, COMPOSE).returncode == 0
    planted = tmp_path / "compose.yaml"
    planted.write_text(COMPOSE.read_text(encoding="utf-8").replace("read_only: true", "readonly: true"))
    assert check("check-jsonschema", *words, planted).returncode == 1


@pytest.mark.parametrize("name", ["worker", "coordinator"])
def test_a_service_of_compose_has_no_rights_and_no_secret_in_its_variables(name: str) -> None:
    service = services()[name]
    assert (service["read_only"], service["init"], service["cap_drop"]) == (True, True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "ports" not in service
    assert set(service["environment"]) == {DSN_VARIABLE}
    assert re.fullmatch(r"postgresql://batch@postgres:5432/batch\?passfile=\S+", service["environment"][DSN_VARIABLE])


def test_the_linter_of_shell_scripts_finds_no_fault(tmp_path: Path) -> None:
    done = check("shellcheck", "--severity=style", SLURM)
    assert (done.returncode, done.stdout) == (0, "")
    planted = tmp_path / SLURM.name
    planted.write_text(SLURM.read_text(encoding="utf-8").replace('"${1:-plan.json}"', "${1:-plan.json}"))
    assert check("shellcheck", "--severity=style", planted).returncode == 1


@pytest.mark.parametrize("command", commands(), ids=str)
def test_a_command_has_options_and_variables_that_exist(command: Command) -> None:
    group = command.words[:2] if command.words[0] == "cluster" else command.words[:1]
    done = subprocess.run(
        [COMMAND, *group, "--help"], capture_output=True, text=True, check=True, env={"COLUMNS": "200"}
    )
    options = {word for word in command.words if word.startswith("--")}
    assert options <= set(re.findall(r"--[a-z-]+", done.stdout))
    assert set(command.variables) <= {"HOME", "XDG_STATE_HOME", ACCOUNTS_VARIABLE, DSN_VARIABLE}


def test_the_image_has_what_the_commands_need() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"\.whl\)\[(?:\w+,)*cluster(?:,\w+)*\]", dockerfile), "a worker needs the extra `cluster`"


def test_the_page_describes_each_file_and_the_secrets() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    for path in (*UNITS, *KUBERNETES, COMPOSE, SLURM, DEPLOY / "alerts.yml"):
        assert f"](deploy/{path.relative_to(DEPLOY)})" in page
    assert KEY_VARIABLE in page
    assert DSN_VARIABLE in page
