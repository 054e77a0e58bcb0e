"""The files below ``docs/deploy`` that an operator copies, and the commands in them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "docs" / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").iterdir())
SLURM = DEPLOY / "slurm" / "shards.sbatch"


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
    (container,) = spec["containers"]
    assert container["command"] == ["crucible-batch"]
    return Command(name, tuple(container["args"]), tuple(each["name"] for each in container["env"]))


def commands() -> list[Command]:
    """Return each command of the files."""
    found = [pod_command(name) for name, _ in pods()]
    (line,) = [
        each for each in SLURM.read_text(encoding="utf-8").splitlines() if each.startswith("exec ")
    ]
    found.append(Command(SLURM.name, tuple(shlex.split(line)[2:])))
    return found
