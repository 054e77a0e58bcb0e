"""The rows of the regime: what each tries, by which command, and what came of it.

1   kill -9 at each effect                      9   several started together
2   the resume killed too                       10  signals at each effect
3   the journal lost, or an older one put back  11  hostile manifests
4   killed at a system call                     12  a hostile gateway
5   simulated weather in virtual time           13  hostile names, links and addresses
6   a bad line                                  14  journals of earlier releases
7   the power cut                               15  mutants of what keeps the money
8   a disk that refuses to write                16  one long run, killed every few seconds
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.verification.crash import traced, wire_faults
from tests.verification.simulation import weather
from tests.verification.simulation.play import Tally
from tests.verification.simulation.price_worlds import FIRST_SCENE, FIRST_SEED
from tests.verification.simulation.soak import soak

ROOT = Path(__file__).parents[3]
ZEROS = ("double charges", "lost outputs", "over budget", "leftovers")
"""What every row must have none of, whatever else it looks at."""
_FINDINGS_KEPT = 10


@dataclass(frozen=True)
class Result:
    """What came of a row.

    ``found`` counts what must not be, by kind; ``counts`` and ``faults`` what was tried.
    """

    counts: Mapping[str, int]
    faults: Mapping[str, int] = field(default_factory=dict)
    found: Mapping[str, int] = field(default_factory=dict)
    findings: Sequence[object] = ()

    @property
    def is_clean(self) -> bool:
        return not any(self.found.values())


@dataclass(frozen=True)
class Row:
    """One row. ``play`` takes the seconds that it may last and a seed; ``share`` is its part of a
    campaign's time, 0 where it takes what it takes."""

    number: int
    title: str
    share: int
    play: Callable[[float, int], Result]
    command: str
    faults: frozenset[str] = frozenset()
    """The kinds of faults that have to have struck, each at least once."""

    def told(self, seconds: float, seed: int) -> dict[str, Any]:
        """Play it, and tell all about it in plain values."""
        began = time.monotonic()
        result = self.play(seconds, seed)
        return {
            "row": self.number,
            "test": self.title,
            "command": self.command.format(seconds=round(seconds), seed=seed),
            "took_s": round(time.monotonic() - began, 1),
            "counts": dict(result.counts),
            "faults": dict(sorted(result.faults.items())),
            "never_struck": sorted(self.faults - result.faults.keys()),
            "found": dict.fromkeys(ZEROS, 0) | dict(result.found),
            "findings": list(result.findings)[:_FINDINGS_KEPT],
        }


def _broken(kind: str, output: str) -> Result:
    return Result(counts={}, found={kind: 1}, findings=[output[-2000:]])


def _crashes(*options: str) -> Callable[[float, int], Result]:
    """Trials of ``tests.verification.crash``, round after round until the time is over."""

    def play(seconds: float, seed: int) -> Result:
        command = [sys.executable, "-m", "tests.verification.crash", "--json", *options]
        limits = ["--seconds", str(seconds), "--first", str(seed)]
        done = subprocess.run(
            [*command, *limits], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode not in {0, 1} or not done.stdout.startswith("{"):
            return _broken("did not run", done.stderr)
        told = json.loads(done.stdout)
        counts = {"trials": sum(told["trials"].values()), **{name: told[name] for name in _COUNTED}}
        return Result(counts, _by_type(told["struck"]), told["found"], told["findings"])

    return play


_COUNTED = ("boundaries", "kills", "resumes")


def _by_type(struck: Mapping[str, int]) -> Counter[str]:
    """Faults by their type, wherever it was that they struck."""
    types: Counter[str] = Counter()
    for label, count in struck.items():
        kind = label.partition(" @ ")[0]
        refused = next((error for error in traced.ERRORS if error in kind.split(" ")), None)
        types[refused or kind] += count
    return types


def _weather(seconds: float, seed: int) -> Result:
    """Seed after seed in virtual time: of each kind of scenario for a third of the time."""
    total = Tally()
    for first in (0, FIRST_SEED, FIRST_SCENE):
        total.add(soak(seconds / 3, first + seed * 1_000_000))
    counts = {
        "seeds": total.seeds,
        "runs": total.runs,
        "crashes": total.crashes,
        "faults": total.faults.total(),
        "virtual days": int(total.virtual_s / 86400),
    }
    found = {
        "double charges": total.double_charges,
        "lost outputs": total.lost_outputs,
        "over budget": total.over_budget,
        "broken": len(total.broken),
    }
    return Result(counts, dict(total.faults), found, total.broken)


def _tests(*targets: str) -> Callable[[float, int], Result]:
    """Tests that take what they take."""

    def play(_seconds: float, _seed: int) -> Result:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "junit.xml"
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-n",
                "2",
                f"--junitxml={report}",
                *targets,
            ]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if not report.exists():
                return _broken("did not run", done.stdout + done.stderr)
            suites = ET.parse(report).getroot().findall("testsuite")
        ran = sum(int(suite.get("tests", 0)) for suite in suites)
        failed = sum(
            int(suite.get(kind, 0))
            for suite in suites
            for kind in ("failures", "errors", "skipped")
        )
        return Result(
            {"tests": ran},
            found={"failed": failed},
            findings=[done.stdout[-2000:]] if failed else [],
        )

    return play


def _program(module: str) -> Callable[[float, int], Result]:
    """A program of this package, which prints a result as JSON."""

    def play(seconds: float, seed: int) -> Result:
        command = [sys.executable, "-m", module, "--seconds", str(seconds), "--seed", str(seed)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode not in {0, 1} or not done.stdout.startswith("{"):
            return _broken("did not run", done.stderr)
        return Result(**json.loads(done.stdout))

    return play


def _crash_row(number: int, title: str, share: int, kind: str, scene: str, *faults: str) -> Row:
    options = ("--scene", scene, "--kind", kind)
    shown = (
        f"python -m tests.verification.crash {' '.join(options)} "
        "--seconds {seconds} --first {seed}"
    )
    return Row(number, title, share, _crashes(*options), shown, frozenset(faults))


def _program_row(number: int, title: str, share: int, module: str) -> Row:
    return Row(
        number,
        title,
        share,
        _program(module),
        f"python -m {module} --seconds {{seconds}} --seed {{seed}}",
    )


def _test_row(number: int, title: str, *targets: str) -> Row:
    return Row(number, title, 0, _tests(*targets), f"pytest {' '.join(targets)}")


ROWS = (
    _crash_row(
        1, "kill -9 at any effect of a run with 50 jobs and 20 images", 22, "killed", "fifty"
    ),
    _crash_row(2, "kill -9, then kill -9 during the resume", 12, "killed_twice", "any"),
    _crash_row(
        3,
        "kill -9, then the journal or the run directory deleted, or replaced by an older copy",
        10,
        "state_lost",
        "any",
    ),
    _crash_row(4, "kill -9 at any system call", 8, "stopped", "any"),
    Row(
        5,
        "simulated faults in virtual time, crashes included",
        14,
        _weather,
        "make soak SECONDS={seconds}",
        frozenset(weather.FAULTS),
    ),
    _crash_row(
        6,
        "a network fault at any exchange of a run with six jobs",
        12,
        "proxied",
        "six",
        *wire_faults.BY_NAME,
    ),
    _crash_row(7, "power loss at any effect of a run with 20 jobs", 6, "unplugged", "twenty"),
    _crash_row(
        8,
        "a write that fails with ENOSPC, EIO, EDQUOT or EROFS, once or permanently",
        6,
        "refused",
        "any",
        *traced.ERRORS,
    ),
    _crash_row(9, "two to eight processes started at the same time", 4, "together", "any"),
    _crash_row(10, "SIGINT, SIGTERM, SIGHUP or two SIGINTs at any effect", 5, "signalled", "any"),
    _test_row(11, "hostile manifests", "tests/unit/manifest"),
    _test_row(
        12, "a hostile gateway: each behaviour at each exchange", "tests/verification/hostile"
    ),
    _test_row(
        13,
        "hostile file names, links and addresses",
        "tests/unit/outputs",
        "tests/unit/gateway/test_guard.py",
    ),
    _test_row(
        14,
        "journals and keys written by earlier releases",
        "tests/unit/journal",
        "tests/unit/core/test_identity.py",
    ),
    _program_row(
        15,
        "mutation testing of the modules that protect credits and secrets",
        14,
        "tests.verification.campaign.mutation",
    ),
    _program_row(
        16,
        "one run of many jobs, killed every few seconds until it finishes",
        5,
        "tests.verification.campaign.long_run",
    ),
)
