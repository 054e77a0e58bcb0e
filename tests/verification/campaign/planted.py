"""Planted bugs, all of them: each takes one safety away, and has to be caught by what is there to
catch it.

in the simulation      ``tests/verification/simulation/bugs.py``, by its judge, within a few seeds
in the command         ``tests/verification/crash/plants.py``, by the judge of ``make crash``,
                       within a few trials
in a line of the code  ``slips.py``, by the tests of the room that it is in
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.verification.campaign.rows import ROOT
from tests.verification.campaign.slips import SLIPS
from tests.verification.crash.plants import SHOWN_BY
from tests.verification.simulation.bugs import SEEDS_ALLOWED, bugs, first_seed

_AT_ONCE = 2
_IN_SIMULATION = (
    "import sys\n"
    "from tests.verification.simulation.bugs import planted\n"
    "from tests.verification.simulation.soak import play_all\n"
    "name, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])\n"
    "with planted(name): print(*play_all(range(first, first + count)).broken[:1])"
)


def hunt() -> dict[str, str]:
    """Plant each bug once. Returns by what each was caught; an empty text where it wasn't."""
    hunts = {
        **{f"simulation: {name}": ["simulation", name] for name in bugs()},
        **{f"crash: {name}": ["crash", name] for name in SHOWN_BY},
        **{f"slip: {name}": ["slip", name] for name in SLIPS},
    }
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        caught = list(threads.map(lambda bug: caught_by(*bug), hunts.values()))
    return dict(zip(hunts, caught, strict=True))


def caught_by(net: str, name: str) -> str:
    """Plant one bug, and say what showed it."""
    match net:
        case "simulation":
            said = _run(
                sys.executable,
                "-c",
                _IN_SIMULATION,
                name,
                str(first_seed(name)),
                str(SEEDS_ALLOWED),
            )
            return _in_a_line(said)
        case "crash":
            told = json.loads(
                _run(
                    sys.executable,
                    "-m",
                    "tests.verification.crash",
                    "--json",
                    "--plant",
                    name,
                    *SHOWN_BY[name],
                )
            )
            return ", ".join(f"{kind}: {count}" for kind, count in told["found"].items() if count)
        case _:
            return ", ".join(list(_failed_tests(name, SLIPS[name].noticed_by))[:3])


def _in_a_line(said: str) -> str:
    """What a broken seed says; of a traceback, what ends it.

    A plant that no longer fits shows nothing.
    """
    lines = [line.strip(" |+-") for line in said.strip().splitlines()]
    lines = [line for line in lines if line]
    if not lines or "TypeError" in lines[-1] or "AttributeError" in lines[-1]:
        return ""
    return lines[0] if len(lines) == 1 else f"{lines[0].partition(':')[0]}: {lines[-1]}"


def _failed_tests(slip: str, target: str) -> Iterator[str]:
    plugin = ["-p", "tests.verification.campaign.slips", "--slip", slip]
    out = _run(sys.executable, "-m", "pytest", "-q", "-x", "--tb=no", *plugin, f"tests/{target}")
    for line in out.splitlines():
        if line.startswith("FAILED "):
            yield line.removeprefix("FAILED ").partition(" - ")[0]


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:  # anything else is no verdict
        raise RuntimeError(
            f"{command} ended with {done.returncode}: {done.stdout[-1000:]}{done.stderr[-1000:]}"
        )
    return done.stdout
