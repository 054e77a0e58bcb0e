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
UNITS = sorted((DEPLOY / "systemd").iterdir())
KUBERNETES = sorted((DEPLOY / "kubernetes").iterdir())
COMPOSE = DEPLOY / "compose.cluster.yaml"
SLURM = DEPLOY / "slurm" / "shards.sbatch"


@dataclass(frozen=True)
class Command:
    """The words after ``crucible-batch`` of a container or a unit; ``variables`` are set beside those of its Secret."""

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
            spec = spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec
            if "template" in spec:
                yield path.name, spec["template"]["spec"]


def pod_command(file: str) -> Command:
    """Return the command of the only container of a file's pods."""
    ((name, spec),) = [found for found in pods() if found[0] == file]
    (container,) = spec["containers"]
    assert container["command"] == ["crucible-batch"]
    return Command(name, tuple(container["args"]), tuple(each["name"] for each in container["env"]))


def services() -> dict[str, Any]:
    """Return the services of the Compose file."""
    return dict(yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"])


def unit_values(path: Path) -> dict[str, dict[str, list[str]]]:
    """Return the settings of a unit by section. One that is repeated has several values."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            section.setdefault(name, []).append(value)
    return found


def commands() -> list[Command]:
    """Return each command of the files."""
    found = [pod_command(path.name) for path in KUBERNETES]
    for name, service in services().items():
        if service["image"] == "crucible-batch":
            found.append(Command(f"compose {name}", tuple(service["command"]), tuple(service["environment"])))
    for path in UNITS:
        service = unit_values(path).get("Service", {})
        for line in service.get("ExecStart", ()):
            variables = (each.partition("=")[0] for each in service.get("Environment", ()))
            found.append(Command(path.name, tuple(shlex.split(line)[1:]), tuple(variables)))
    (line,) = [each for each in SLURM.read_text(encoding="utf-8").splitlines() if each.startswith("exec ")]
    found.append(Command(SLURM.name, tuple(shlex.split(line)[2:])))
    return found
