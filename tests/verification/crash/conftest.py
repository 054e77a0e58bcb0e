"""Campaigns as a child process, since whoever forks must have no threads; and the installed
command, to be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.harness.forked_commands import run_module
from tests.verification.crash.scenes import UPLOAD_PRICE, Scene

COMMAND = str(Path(sys.executable).with_name("crucible-batch"))
KEY = "moltazine_sandbox"

Campaign = Callable[..., Any]


@pytest.fixture
def campaign() -> Campaign:
    """Play trials, as ``make crash`` does, and return what it tells."""

    def run(*options: str) -> Any:
        done = run_module("tests.verification.crash", "--json", *options, timeout_s=600)
        assert done.returncode in {0, 1}, done.stderr
        assert done.stdout, done.stderr  # it has fallen over, else
        return json.loads(done.stdout)

    return run


@dataclass(frozen=True)
class User:
    """A folder with a scene in it, the gateway that it is for, and the command."""

    folder: Path
    url: str

    @property
    def run_dir(self) -> Path:
        return self.folder / "out"

    @property
    def temporary(self) -> Path:
        return self.folder / "temporary"

    def start(self, scene: Scene) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [COMMAND, "run", "m.yaml", "--out-dir", "out", "-q", "-c", str(scene.concurrency)],
            cwd=self.folder,
            env={
                **os.environ,
                "MOLTAZINE_API_KEY": KEY,
                "CRUCIBLE_API_BASE": self.url,
                "TMPDIR": str(self.temporary),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )


@contextmanager
def _sandbox(*options: str) -> Iterator[str]:
    process = subprocess.Popen(
        [COMMAND, "sandbox", *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        yield lines[1].strip().removeprefix("export CRUCIBLE_API_BASE=")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)


@pytest.fixture
def user(tmp_path: Path) -> Callable[..., Any]:
    """Give a folder with ``scene``, and a gateway of its own as the command starts it, with more
    ``options``."""

    @contextmanager
    def at(scene: Scene, *options: str) -> Iterator[User]:
        scene.write(tmp_path)
        (tmp_path / "temporary").mkdir()
        with _sandbox(
            "--faults", scene.faults, "--upload-price", str(UPLOAD_PRICE), *options
        ) as url:
            yield User(tmp_path, url)

    return at
