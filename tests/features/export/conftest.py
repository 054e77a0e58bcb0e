"""A run whose outputs are exported."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.commands import Cli

JOBS = """\
- {name: heron, prompt: "a heron, {{ repeat }}", repeat: 3}
- {name: "v1.5-{{ style }}", prompt: "a lamp in {{ style }}", matrix: {style: ["=ink", tea]}}
- {name: refused, prompt: nsfw}"""


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, gateway: str) -> Path:
    """The directory of a run with five pictures, and a job that failed. Not to be changed."""
    cli = Cli(tmp_path_factory.mktemp("finished"), gateway)
    cli.write("export", JOBS)
    assert cli("run", "export.yaml").code == 1
    return cli.cwd / "outputs" / "export" / "default"


@pytest.fixture
def run_dir(tmp_path: Path, finished_run: Path) -> Path:
    """A copy of that directory."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture
def files() -> Callable[[Path], dict[str, bytes]]:
    """Return the files of an export, without the record."""

    def found(directory: Path) -> dict[str, bytes]:
        return {
            path.relative_to(directory).as_posix(): path.read_bytes()
            for path in sorted(directory.rglob("*"))
            if path.is_file() and path.name != ".crucible-export.jsonl"
        }

    return found
