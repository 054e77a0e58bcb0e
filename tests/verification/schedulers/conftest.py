"""Exports of manifests in folders with any name, and the programs that read them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.forked_commands import COMMAND

MANIFEST = """\
version: 1
name: {name}
workflow: zimage-base
budget: {{credits: 10}}
run_id: "{{{{ date }}}}"
schedule: {{cron: "{cron}", timezone: {zone}, catch_up: 2}}
jobs: [{{name: fox, prompt: a fox}}]
"""
HOSTILE = (
    "it's", 'a "quoted" name', "50% off %h %F",
    "$HOME ${USER} $(id)", "a;b & c | d #e", "Grüße 写真", "-n --help",
)  # fmt: skip
"""Names of folders and files that mean something to shells, cron or systemd."""


def needed(program: str, package: str) -> str:
    """Return where a program is. These tests are about it: without it they fail."""
    found = shutil.which(program)
    if found is None:
        pytest.fail(
            f"this is tested with {program}, and there is none here "
            f"(Debian: apt-get install {package})"
        )
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may read: systemd refuses a test as root."""
    with tempfile.TemporaryDirectory(prefix="schedulers-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def exported(folder: Path) -> Callable[..., Path]:
    """Write a manifest into a folder, export it from there, and return the folder."""

    def export(
        to: str,
        *options: str,
        place: str = "batch",
        file: str = "nightly.yaml",
        cron: str = "15 3 * * *",
        zone: str = "UTC",
    ) -> Path:
        working = folder / place
        working.mkdir(exist_ok=True)
        (working / file).write_text(
            MANIFEST.format(name="nightly", cron=cron, zone=zone), encoding="utf-8"
        )
        written = folder / f"exported-{to}"
        command = [
            COMMAND,
            "schedule",
            "export",
            f"./{file}",
            "--to",
            to,
            "-o",
            str(written),
            *options,
        ]
        environment = {**os.environ, "TZ": "UTC"}
        done = subprocess.run(
            command, cwd=working, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return written

    return export


def module(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a tool that is installed as a Python module."""
    command = [sys.executable, "-m", name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
