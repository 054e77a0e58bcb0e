"""A user's folder, in which an earlier program worked and the present one continues.

The earlier one is taken out of the history of this repository, and runs with today's
dependencies. Both talk to one gateway, whose judge has the last word.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.harness.commands import KEY, clean_environment, running_sandbox

ROOT = Path(__file__).parents[3]
EARLIER = "26b0cfffe5a168416a9a21d030a026433f3fb83f"
"""The last revision before the formats were promised. From the first release on, it is its tag."""
MANIFEST = """\
version: 1
name: {name}
workflow: zimage-base
params: {{size.width: 64, size.height: 64}}
budget: {budget}
jobs:
  - {{name: plain, prompt: "{name}: a lighthouse, {{{{ n }}}}", matrix: {{n: [1, 2, 3, 4]}}}}
  - {{name: edit, prompt: "{name}: on marble", workflow: qwen-edit, image: teal.png}}
"""


@pytest.fixture(scope="session")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the earlier program."""
    command = ["git", "archive", EARLIER, "crucible_batch"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, f"no {EARLIER} here: git fetch --unshallow\n{done.stderr.decode()}"
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@dataclass(frozen=True)
class User:
    """A folder with manifests, a gateway, and both programs."""

    folder: Path
    url: str
    earlier: Path

    def _start(self, tree: Path, words: tuple[str, ...]) -> subprocess.Popen[str]:
        environment = clean_environment(
            MOLTAZINE_API_KEY=KEY,
            CRUCIBLE_API_BASE=self.url,
            XDG_STATE_HOME=str(self.folder / "state"),
            PYTHONPATH=str(tree),
        )
        return subprocess.Popen(
            [sys.executable, "-m", "crucible_batch", *words],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _run(self, tree: Path, words: tuple[str, ...], expect: int) -> Any:
        process = self._start(tree, (*words, "--json"))
        out, err = process.communicate(timeout=120)
        assert process.returncode == expect, f"{words}: {process.returncode}\n{out[-2000:]}\n{err}"
        return json.loads(out.splitlines()[-1])["data"]

    def before(self, *words: str, expect: int = 0) -> Any:
        """Run a command of the earlier program, and return its result."""
        return self._run(self.earlier, words, expect)

    def now(self, *words: str, expect: int = 0) -> Any:
        """Run a command of the present program, and return its result."""
        return self._run(ROOT, words, expect)

    def help_of(self, command: str, *, before: bool) -> str:
        process = self._start(self.earlier if before else ROOT, (command, "--help"))
        return process.communicate(timeout=120)[0]

    def before_killed(self, jobs: int, *words: str) -> None:
        """Run a command of the earlier program, and kill it once so many jobs were accepted."""
        process = self._start(self.earlier, words)
        while len(self.state()["jobs"]) < jobs and process.poll() is None:
            pass
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.communicate()

    def write(self, name: str, budget: str, more: str = "") -> str:
        """Write NAME.yaml, which needs 4 jobs for 2 credits each, and one with an image."""
        (self.folder / f"{name}.yaml").write_text(
            MANIFEST.format(name=name, budget=budget) + more, encoding="utf-8"
        )
        return f"{name}.yaml"

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/_sandbox/{path}") as answer:
            return json.loads(answer.read(), parse_float=Decimal)

    def state(self) -> Any:
        return self.ask("state")

    def gone(self) -> Decimal:
        """What the gateway has charged and reserved."""
        verdict = self.ask("verdict")
        return Decimal(
            verdict["charged_for_jobs"] + verdict["charged_for_uploads"] + verdict["reserved"]
        )


@pytest.fixture
def user(tmp_path: Path, earlier: Path) -> Iterator[User]:
    """Give a user's folder. In the end, nothing was bought twice, whoever bought it."""
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "teal.png")
    (tmp_path / "shared").mkdir()
    assert "PYTHONPATH" not in os.environ
    with running_sandbox("--time-scale", "0.3") as url:
        user = User(tmp_path, url, earlier)
        yield user
        verdict = user.ask("verdict")
        assert verdict["faults"] == [], verdict["faults"]
