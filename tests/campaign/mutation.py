"""Mutants of the modules that keep the money and the secrets: how many of them the tests notice, by mutmut.

    python -m tests.campaign.mutation                             all of them
    python -m tests.campaign.mutation --seconds 300 --seed 7      as many modules as the time allows, by lot

Works on a copy of what git tracks, since mutmut writes beside what it changes. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).parents[2]
MODULES = (
    "core/identity.py",
    "core/budget.py",
    "core/ledger.py",
    "core/credits.py",
    "core/output_path.py",
    "gateway/address.py",
    "gateway/api_key.py",
    "gateway/quiet.py",
    "gateway/text.py",
    "journal/codec.py",
    "journal/writer.py",
    "results/picture.py",
)
TESTS = (
    "tests/core/test_identity.py",
    "tests/core/test_budget.py",
    "tests/core/test_ledger.py",
    "tests/core/test_credits.py",
    "tests/core/test_output_path.py",
    "tests/gateway/test_address.py",
    "tests/gateway/test_secrets.py",
    "tests/journal/test_codec.py",
    "tests/journal/test_writing.py",
    "tests/results/test_picture.py",
)
MODULE_S = 90.0
"""What a module takes on two busy cores; it only says how many are begun. What isn't done in time isn't counted."""
LEAST_S = 120.0
"""Before the first mutant is looked at, all are made, and the tests are timed."""
FLOOR = 0.8
"""The part of the mutants that has to be noticed. Those that are not are mostly texts of errors; each is listed."""


def mutate(modules: Sequence[str], seconds: float | None) -> dict[str, Any]:
    """Make all mutants of the modules, and have the tests look at each for as long as there is time."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name)
        _copy(folder)
        settings = {
            "source_paths": [f"crucible_batch/{module}" for module in modules],
            "pytest_add_cli_args_test_selection": list(TESTS),
            "also_copy": ["crucible_batch", "tests", "manifests"],
        }
        with (folder / "pyproject.toml").open("a") as file:
            file.write("\n[tool.mutmut]\n")
            file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        _mutmut(folder, "run", "--max-children", "2", seconds=seconds)
        listed = _mutmut(folder, "results", "--all", "true")
    verdicts = dict(line.strip().rsplit(": ", 1) for line in listed.splitlines() if "__mutmut_" in line)
    looked_at = {mutant: verdict for mutant, verdict in verdicts.items() if verdict != "not checked"}
    survivors = sorted(mutant for mutant, verdict in looked_at.items() if verdict not in {"killed", "timeout"})
    noticed = len(looked_at) - len(survivors)
    is_low = noticed < FLOOR * len(looked_at)
    return {
        "counts": {"modules": len(modules), "mutants": len(looked_at), "noticed": noticed, "survived": len(survivors)},
        "found": {"mutants below the floor": len(survivors) if is_low else 0},
        "findings": survivors,
    }


def _copy(folder: Path) -> None:
    archive = folder / "tree.tar"
    subprocess.run(["git", "archive", "-o", str(archive), "HEAD"], cwd=ROOT, check=True)
    with tarfile.open(archive) as tree:
        tree.extractall(folder, filter="data")
    archive.unlink()


def _mutmut(folder: Path, *words: str, seconds: float | None = None) -> str:
    """Run mutmut, for so long at most. Raises ``RuntimeError`` where it fails by itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mutmut", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # its children end with it
    )
    try:
        out, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]
    if process.returncode:
        raise RuntimeError(f"mutmut {words[0]} failed: {out[-1500:]}")
    return out


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.mutation", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, help="all modules and all mutants, where it isn't said")
    parser.add_argument("--seed", type=int, default=0, help="which modules, where there is no time for all")
    wanted = parser.parse_args()
    count = len(MODULES) if wanted.seconds is None else min(len(MODULES), int(wanted.seconds / MODULE_S) + 1)
    seconds = None if wanted.seconds is None else max(LEAST_S, wanted.seconds)
    told = mutate(Random(wanted.seed).sample(MODULES, count), seconds)
    print(json.dumps(told))
    return 1 if any(told["found"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
