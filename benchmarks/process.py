"""Processes and what they cost: wall and CPU seconds, and the peak of their memory, as the kernel
counts them.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

FLOORS = Path(__file__).parent / "floors"
OURS = Path(__file__).parent / "ours"
_LAUNCHER = Path(__file__).parent / "launcher.py"

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took.

    Its children are in it, once they were waited for. ``peak_bytes`` is the largest one's.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int = 0


def run(
    command: Sequence[str | Path], *, folder: Path, environment: Mapping[str, str] | None = None
) -> Cost:
    """Run a command to its end and return its cost.

    Raises ``RuntimeError``, with what it said, where it fails.
    """
    log = folder / "said.log"
    reading, writing = os.pipe()
    with log.open("wb") as said, os.fdopen(reading, "rb") as result:
        launched = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                str(_LAUNCHER),
                str(writing),
                *(str(part) for part in command),
            ],
            cwd=folder,
            stdout=said,
            stderr=said,
            env={**_usual_environment(), **(environment or {})},
            pass_fds=[writing],
        )
        os.close(writing)
        text = result.read()
        launched.wait()
    measured = json.loads(text) if text else {"exit_code": "no result"}
    if exit_code := measured.pop("exit_code"):
        raise RuntimeError(
            f"{command[0]} ended with {exit_code}:\n{log.read_text(errors='replace')[-4000:]}"
        )
    return Cost(**measured)


def _usual_environment() -> dict[str, str]:
    """This process's, but that Python keeps what it compiled: else each start compiles all of a
    program anew.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def peak_mb() -> float:
    """The most memory that this process ever had.

    A child's ``ru_maxrss`` begins with what its parent had.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 1024
    )


def scratch_folder() -> Path:
    """Make a folder for what is written, which stands until all is measured.

    Removing anything meanwhile would slow whoever writes next: an ext4 without a journal goes one
    by one over the inodes that were freed in the last minutes before it makes a file (``perf
    record`` shows it in ``find_inode_bit``). A run makes three where a script makes one, so that it
    would pay three times as much of it.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def emptied(folder: Path, pattern: str, expected: int) -> None:
    """See that so many files were made, and give back what they take.

    Raises ``RuntimeError`` where they weren't.
    """
    found = list(folder.glob(pattern))
    if len(found) != expected:
        raise RuntimeError(f"{len(found)} of {expected} outputs in {folder}")
    for path in found:
        os.truncate(path, 0)


def interleaved(contenders: Mapping[K, Callable[[], Cost]], rounds: int) -> dict[K, list[Cost]]:
    """Let the contenders take turns, so that what disturbs the machine disturbs them all.

    Each begins with a disk that has nothing left to write of the one before it.
    """
    costs: dict[K, list[Cost]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contend in contenders.items():
            os.sync()
            costs[name].append(contend())
    return costs


def median_ratio(ours: Iterable[float], floors: Iterable[float]) -> float:
    """Return the median of the rounds' own ratios: a slow round is slow for both."""
    return statistics.median(our / floor for our, floor in zip(ours, floors, strict=True))


def median(values: Iterable[float]) -> float:
    return statistics.median(values)
