"""The project as ``pip install .`` installs it, without extras: each command works there, or names
its extra.

The environment is made here from what the tests' own has: the project, and what it needs without
extras, as their metadata say. So no registry is asked, and nothing else can be imported there.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import venv
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer.main
from packaging.requirements import Requirement

import crucible_batch
from crucible_batch.cli.app import app
from tests.harness.command_tree import all_commands
from tests.harness.commands import KEY, clean_environment
from tests.harness.features import has_feature

EXTRAS = ("obstore", "opentelemetry.sdk", "mcp", "pytest")
CALLS = {
    "assets": "assets outputs/m/default --delete",
    "ctl": "ctl outputs/m/default pause",
    "check": "check outputs/m/default",
    "explain": "explain USAGE",
    "demo": "demo --help",  # it takes long, and serves nothing of an extra
    "init": "init starter",
    "merge": "merge outputs/m/default",
    "pick": "pick outputs/m/default fox",
    "plan": "plan m.yaml",
    "prune": "prune outputs --older-than 30d --dry-run",
    "report": "report outputs/m/default",
    "run": "run m.yaml --wait-for-gateway 0",
    "sandbox": "sandbox --port 99999",
    "status": "status outputs/m/default",
    "validate": "validate m.yaml",
    "view": "view --port 99999",
    "budget release": "budget release studio outputs/m/default --spent 0",
    "schedule export": "schedule export m.yaml --to cron",
    "schedule list": "schedule list m.yaml",
}
"""The arguments of commands that need some. What is not named here is called without any."""
MORE = [
    "doctor m.yaml",
    "run m.yaml --out-dir s3://bucket/runs --wait-for-gateway 0",
    "plan m.yaml --out-dir gs://bucket/runs",
    "status s3://bucket/runs",
    *(["check az://bucket/runs"] if has_feature("check") else []),
    *(["merge s3://bucket/runs"] if has_feature("shards") else []),
]
_SERVES_AFTER_S = 30


def needed(name: str) -> dict[str, metadata.Distribution]:
    """Return the distributions that one needs without extras, itself included, by their names."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [(name, frozenset[str]())]
    while waiting:
        wanted, extras = waiting.pop()
        distribution = metadata.distribution(wanted)
        found[re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()] = distribution
        for text in distribution.requires or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, "")):
                key = re.sub(r"[-_.]+", "-", requirement.name).lower()
                if key not in found:
                    waiting.append((requirement.name, frozenset(requirement.extras)))
    return found


def linked(distribution: metadata.Distribution, packages: Path) -> None:
    """Link a distribution's modules and metadata into a directory of packages."""
    tops = {Path(str(file)).parts[0] for file in distribution.files or ()}
    for top in tops - {"..", "__pycache__"}:
        source, target = Path(str(distribution.locate_file(top))), packages / top
        if source.exists() and not target.exists() and not top.startswith("_crucible"):
            target.symlink_to(source)


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the project and its dependencies without extras; its interpreter."""
    directory = tmp_path_factory.mktemp("without-extras") / "venv"
    venv.create(directory, with_pip=False, symlinks=True)
    (packages,) = directory.glob("lib/python*/site-packages")
    for name, distribution in needed("crucible-batch").items():
        if name != "crucible-batch":
            linked(distribution, packages)
    (packages / "crucible_batch").symlink_to(Path(crucible_batch.__file__).parent)
    ours = metadata.distribution("crucible-batch")
    for top in {Path(str(file)).parts[0] for file in ours.files or ()}:
        if top.endswith(".dist-info"):
            (packages / top).symlink_to(Path(str(ours.locate_file(top))))
    return directory / "bin" / "python"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("folder")
    schedule = 'run_id: "{{ date }}"\n'
    if has_feature("schedule"):
        schedule += 'schedule: {cron: "15 3 * * *"}\n'
    budget = "budget: {credits: 5, max_credits_per_job: 2}\n"
    text = f"version: 1\nname: m\nworkflow: zimage-base\n{budget}{schedule}"
    (path / "m.yaml").write_text(f"{text}jobs: [{{name: fox, prompt: a fox}}]\n", encoding="utf-8")
    return path


def called(python: Path, folder: Path, words: str) -> subprocess.CompletedProcess[str]:
    """Call the command as its installed script does. No gateway answers."""
    environment = clean_environment(
        MOLTAZINE_API_KEY=KEY,
        CRUCIBLE_API_BASE="http://127.0.0.1:9",
        XDG_STATE_HOME=str(folder / "state"),
    )
    environment.pop("PYTHONPATH", None)
    program = (
        "import sys; sys.argv[0] = 'crucible-batch'; from crucible_batch.cli import main; main()"
    )
    process = subprocess.Popen(
        [str(python), "-I", "-c", program, *shlex.split(words)],
        cwd=folder,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out, err = process.communicate(timeout=_SERVES_AFTER_S)
    except subprocess.TimeoutExpired:  # it serves
        process.kill()
        out, err = process.communicate()
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def faults(python: Path, folder: Path, calls: Iterable[str]) -> Iterator[str]:
    """Yield each call that ends as a bug, by its code or by what it prints."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for words, done in zip(
            calls, threads.map(lambda words: called(python, folder, words), calls), strict=True
        ):
            said = done.stdout + done.stderr
            is_bug = done.returncode in {70, 1} and ("bug" in said or "Traceback" in said)
            if is_bug or done.returncode == 70 or "Traceback" in said or "No module named" in said:
                yield f"{words}: {done.returncode}: {said[-300:]}"


def tree() -> dict[str, Any]:
    return all_commands(typer.main.get_command(app))


def test_no_module_of_an_extra_can_be_imported_there(python: Path, folder: Path) -> None:
    program = (
        f"import importlib.util as u\nfor n in {EXTRAS!r}:\n"
        " try: print(n, u.find_spec(n) is not None)\n"
    )
    program += " except ModuleNotFoundError: print(n, False)\n"
    done = subprocess.run(
        [str(python), "-I", "-c", program], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"{name} False" for name in EXTRAS]


@pytest.mark.slow
def test_every_command_ends_there_without_a_bug(python: Path, folder: Path) -> None:
    names = [name for name in tree() if name not in CALLS]
    assert CALLS.keys() <= tree().keys()
    assert list(faults(python, folder, [*names, *CALLS.values(), *MORE])) == []


@pytest.mark.slow
def test_every_command_has_its_help_there(python: Path, folder: Path) -> None:
    calls = [f"{name} --help" for name in ("", *tree())]
    assert list(faults(python, folder, calls)) == []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        codes = list(threads.map(lambda words: called(python, folder, words).returncode, calls))
    assert set(codes) == {0}, dict(zip(calls, codes, strict=True))
