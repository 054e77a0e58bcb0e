"""The files below ``docs/deploy`` that an operator copies, and the commands in them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import yaml
from botocore.validate import ParamValidator

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "docs" / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").iterdir())
SLURM = DEPLOY / "slurm" / "shards.sbatch"
AWS_BATCH = DEPLOY / "aws-batch" / "shards.json"


@dataclass(frozen=True)
class Command:
    """The words after ``crucible-batch`` of a container; ``variables`` are set beside those of its
    Secret."""

    place: str
    words: tuple[str, ...]
    variables: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.place


def resources(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file for Kubernetes."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each file's name with the specification of its pods."""
    for path in KUBERNETES:
        for each in resources(path):
            spec = each.get("spec", {})
            if "template" in spec:
                yield path.name, spec["template"]["spec"]


def pod_command(file: str) -> Command:
    """Return the command of the only container of a file's pods."""
    ((name, spec),) = [found for found in pods() if found[0] == file]
    return container_command(name, spec)


def container_command(name: str, spec: dict[str, Any]) -> Command:
    """Return the command of the only container of a pod, as Kubernetes starts it."""
    (container,) = spec["containers"]
    assert container["command"] == ["crucible-batch"]
    words = tuple(word.replace("$$", "$") for word in container["args"])
    return Command(name, words, tuple(each["name"] for each in container["env"]))


def aws_command(path: Path) -> Command:
    """Return the command of the containers of a request to AWS Batch."""
    request = json.loads(path.read_text(encoding="utf-8"))
    return Command(path.name, tuple(request["containerOverrides"]["command"]))


def commands() -> list[Command]:
    """Return each command of the files."""
    found = [pod_command(name) for name, _ in pods()]
    found.append(aws_command(AWS_BATCH))
    (line,) = [
        each for each in SLURM.read_text(encoding="utf-8").splitlines() if each.startswith("exec ")
    ]
    found.append(Command(SLURM.name, tuple(shlex.split(line)[2:])))
    return found


def check(program: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program that is installed beside Python."""
    found = str(Path(sys.executable).with_name(program))
    return subprocess.run([found, *map(str, words)], capture_output=True, text=True, check=False)


def kubernetes_accepts(*paths: Path) -> str:
    """Return the faults that the schemas of Kubernetes find in files; empty if there are none."""
    words = [sys.executable, "-m", "kubernetes_validate", "--strict", *map(str, paths)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def faults_of_job(request: dict[str, Any]) -> str:
    """Return what AWS's model of its interface finds in a request to submit a job."""
    model = botocore.session.Session().get_service_model("batch")
    shape = model.operation_model("SubmitJob").input_shape
    report: str = ParamValidator().validate(request, shape).generate_report()
    return report
