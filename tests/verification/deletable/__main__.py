"""Deletes each feature from a copy of the project, and sees that the rest works without it: ``make
deletable``.

In its quick form, the package is imported, and a newcomer's commands are run. Otherwise all tests
of the rest are run as well, except for those of the documentation, which describes all features.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[3]
FEATURES = ROOT / "crucible_batch" / "features"
MODULE = (sys.executable, "-m", "crucible_batch")
COMMANDS = (
    ("demo", "--no-open", "--out-dir", "outputs"),
    ("status", "outputs"),
    ("report", "outputs"),
    ("init", "batch"),
    ("validate", "batch/manifest.yaml"),
    ("plan", "batch/manifest.yaml"),
    ("schema",),
    ("explain",),
)
"""What a newcomer runs, in a new folder, without a key."""
TESTED = ("tests/harness", "tests/unit", "tests/integration", "tests/features", "tests/acceptance")


def features() -> list[str]:
    """The names of all features."""
    return sorted(path.name for path in FEATURES.iterdir() if (path / "__init__.py").is_file())


def without(feature: str, needs: dict[str, frozenset[str]]) -> set[str]:
    """The feature, and those that can't do without it."""
    gone = {feature}
    while more := {name for name, needed in needs.items() if needed & gone} - gone:
        gone |= more
    return gone


def copy_of_project(target: Path, feature: str, needs: dict[str, frozenset[str]]) -> None:
    """Copy all files that git knows or would add, and delete the folder of a feature with its
    tests.

    The tests of features that need it go as well, and their folders stay: they count as deleted.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source, copied = ROOT / name, target / name
        if source.is_file():
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copied)
    shutil.rmtree(target / "crucible_batch" / "features" / feature)
    for name in without(feature, needs):
        shutil.rmtree(target / "tests" / "features" / name, ignore_errors=True)


def environment(project: Path) -> dict[str, str]:
    """The environment in which Python imports the copy, and finds no key."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MOLTAZINE_", "CRUCIBLE_"))
    }
    return {**kept, "PYTHONPATH": str(project), "XDG_STATE_HOME": str(project.parent / "state")}


def failures(project: Path, *, quick: bool, workers: int) -> Iterator[str]:
    """Yield what does not work in the copy."""
    folder = project.parent / "folder"
    folder.mkdir()
    where = f"import crucible_batch; assert crucible_batch.__file__.startswith({str(project)!r})"
    checks: list[tuple[Sequence[str], Path]] = [([sys.executable, "-c", where], folder)]
    checks += [((*MODULE, "--help"), folder)]
    checks += [((*MODULE, *command), folder) for command in COMMANDS]
    if not quick:
        pytest = (
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            str(workers),
            "--dist",
            "worksteal",
            "-m",
            "not slow",
        )
        checks.append(((*pytest, "--ignore=tests/integration/docs", *TESTED), project))
    for command, directory in checks:
        done = subprocess.run(
            command,
            cwd=directory,
            env=environment(project),
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            yield f"$ {' '.join(command)}\n{(done.stdout + done.stderr)[-6000:]}"


def main() -> int:
    """Check each feature that is named, or all, and return 1 if the rest doesn't work without one
    of them."""
    from crucible_batch.features.needs import NEEDS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="run no tests")
    parser.add_argument("--workers", type=int, default=5)
    parser.add_argument("features", nargs="*", default=features())
    given = parser.parse_args()

    def check(feature: str) -> tuple[str, float, list[str]]:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"without-{feature}-") as folder:
            project = Path(folder) / "project"
            copy_of_project(project, feature, dict(NEEDS))
            found = list(failures(project, quick=given.quick, workers=given.workers))
        return feature, time.monotonic() - began, found

    status = 0
    # A newcomer's commands mostly wait for the gateway; the tests keep all cores busy.
    with ThreadPoolExecutor(3 if given.quick else 1) as pool:
        for feature, took_s, found in pool.map(check, given.features):
            print(
                f"without {feature:<10} {'works' if not found else 'FAILS':<6} {took_s:.0f} s",
                flush=True,
            )
            for text in found:
                print(text, flush=True)
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
