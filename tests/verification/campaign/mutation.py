"""Mutants of the modules that keep the money and the secrets: how many of them the tests notice, by
mutmut.

    python -m tests.verification.campaign.mutation                     all of them
    python -m tests.verification.campaign.mutation core/identity.py    one of them: make mutants
    python -m tests.verification.campaign.mutation --seconds 300 --seed 7
                                                as many modules as the time allows, by lot

Works on a copy, since mutmut writes beside what it changes. A mutant that no test can notice is
argued in ``argued.py``. Prints one JSON object, and exits 1 where too many are neither.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from tests.verification.campaign.argued import is_argued

ROOT = Path(__file__).parents[3]
MODULES: Mapping[str, str] = {
    "core/identity.py": "unit/core/test_identity.py",
    "core/budget.py": "unit/core/test_budget.py",
    "core/ledger.py": (
        "unit/core/test_ledger.py unit/core/test_impossible.py unit/core/test_refunds.py"
    ),
    "core/credits.py": "unit/core/test_credits.py unit/core/test_stored_credits.py",
    "core/prices.py": "unit/core/test_prices.py",
    "core/output_path.py": "unit/core/test_output_path.py",
    "core/redaction.py": (
        "unit/core/test_text.py unit/core/test_secrecy.py unit/gateway/test_secrets.py"
    ),
    "engine/admission.py": (
        "unit/engine/test_admission_rule.py unit/engine/test_admission_ends.py "
        "unit/engine/test_refund_admission.py"
    ),
    "gateway/api_key.py": "unit/gateway/test_secrets.py",
    "gateway/url_guard.py": (
        "unit/gateway/test_address.py unit/gateway/test_guard.py "
        "unit/gateway/test_guard_registry.py"
    ),
    "gateway/log_filter.py": "unit/gateway/test_secrets.py",
    "journal/codec.py": "unit/journal/test_codec.py",
    "journal/event_codec.py": "unit/journal/test_codec.py",
    "journal/group_commit.py": "unit/journal/test_writing.py",
    "outputs/image_check.py": "unit/outputs/test_picture.py",
}
"""Each module of a campaign with the files of tests that have to notice its mutants, below
``tests``."""
MODULE_S = 20.0
"""What a module takes on two cores; it only says how many are begun.

What isn't done in time isn't counted.
"""
LEAST_S = 120.0
"""Before the first mutant is looked at, all are made, and the tests are timed."""
FLOOR = 0.95
"""The part of the mutants that has to be noticed, or argued. Those that are neither are listed."""
_COPIED = ["crucible_batch", "tests", "manifests"]
_DIFFERENCES = (
    "import json, sys\n"
    "from mutmut.__main__ import get_diff_for_mutant\n"
    "print(json.dumps({name: get_diff_for_mutant(name) for name in sys.argv[1:]}))"
)


def mutate(modules: Sequence[str], seconds: float | None) -> dict[str, Any]:
    """Make all mutants of the modules, and have the tests look at each for as long as there is
    time."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name)
        _copy(folder)
        settings = {
            "source_paths": [f"crucible_batch/{module}" for module in modules],
            "pytest_add_cli_args_test_selection": sorted(
                {f"tests/{tests}" for module in modules for tests in MODULES[module].split()}
            ),
            "also_copy": _COPIED,
        }
        with (folder / "pyproject.toml").open("a") as file:
            file.write("\n[tool.mutmut]\n")
            file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        _mutmut(folder, "run", "--max-children", "2", seconds=seconds)
        listed = _mutmut(folder, "results", "--all", "true")
        verdicts = dict(
            line.strip().rsplit(": ", 1) for line in listed.splitlines() if "__mutmut_" in line
        )
        looked_at = {
            mutant: verdict for mutant, verdict in verdicts.items() if verdict != "not checked"
        }
        passed = sorted(
            mutant for mutant, verdict in looked_at.items() if verdict not in {"killed", "timeout"}
        )
        differences = json.loads(_python(folder, "-c", _DIFFERENCES, *passed).splitlines()[-1])
    return _told(looked_at, {mutant: _since_the_change(differences[mutant]) for mutant in passed})


def _told(looked_at: Mapping[str, str], passed: Mapping[str, str]) -> dict[str, Any]:
    """Count what was noticed and what is argued, and list what is neither with its difference."""
    survivors = {
        mutant: change
        for mutant, change in passed.items()
        if not is_argued(_module_of(mutant), change)
    }
    noticed = len(looked_at) - len(passed)
    argued = len(passed) - len(survivors)
    counts = {
        "modules": len({_module_of(mutant) for mutant in looked_at}),
        "mutants": len(looked_at),
        "noticed": noticed,
        "argued": argued,
        "survived": len(survivors),
    }
    is_low = noticed + argued < FLOOR * len(looked_at)
    return {
        "counts": counts,
        "found": {"mutants below the floor": len(survivors) if is_low else 0},
        "findings": [f"{mutant}: {change}" for mutant, change in survivors.items()],
    }


def _module_of(mutant: str) -> str:
    """``crucible_batch.core.ledger.x_name__mutmut_1`` is one of ``core/ledger.py``."""
    return "/".join(mutant.split(".")[1:-1]) + ".py"


def _since_the_change(difference: str) -> str:
    """The lines of a difference that go and come."""
    lines = (
        line
        for line in difference.splitlines()
        if line[:1] in {"-", "+"} and line[:3] not in {"---", "+++"}
    )
    return "\n".join(f"{line[0]}{line[1:].strip()}" for line in lines)


def _copy(folder: Path) -> None:
    for name in _COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)


def _mutmut(folder: Path, *words: str, seconds: float | None = None) -> str:
    """Run mutmut, for so long at most. Raises ``RuntimeError`` where it fails by itself."""
    return _python(folder, "-m", "mutmut", *words, seconds=seconds)


def _python(folder: Path, *words: str, seconds: float | None = None) -> str:
    process = subprocess.Popen(
        [sys.executable, *words],
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
        return _end(process)
    if process.returncode:
        raise RuntimeError(f"{words[:3]} failed: {out[-1500:]}")
    return out


def _end(process: subprocess.Popen[str]) -> str:
    """Ask it to end, so that it isn't killed in the middle of writing a verdict down; then end it
    with its children."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.communicate(timeout=10)[0]
    os.killpg(process.pid, signal.SIGKILL)
    return process.communicate()[0]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.verification.campaign.mutation",
        description=__doc__.partition("\n")[0],
    )
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help="one of these; all, where none is named"
    )
    parser.add_argument(
        "--seconds", type=float, help="all modules and all mutants, where it isn't said"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="which modules, where there is no time for all"
    )
    wanted = parser.parse_args()
    if not MODULES.keys() >= set(wanted.modules):
        parser.error(f"the modules are {', '.join(MODULES)}")
    # A campaign names a time and a number of modules that its file is held to.
    modules = tuple(wanted.modules) or tuple(MODULES)
    count = (
        len(modules)
        if wanted.seconds is None
        else min(len(modules), int(wanted.seconds / MODULE_S) + 1)
    )
    seconds = None if wanted.seconds is None else max(LEAST_S, wanted.seconds)
    told = mutate(Random(wanted.seed).sample(modules, count), seconds)
    print(json.dumps(told))
    return 1 if any(told["found"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
