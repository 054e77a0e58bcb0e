"""Trials by system call, with no hook in the product: strace kills the command at one, or has the
kernel refuse it.

strace counts for each thread by itself, so that a place is the n-th call of some thread; where
several come that far, the first one dies, and each is refused.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

from tests.verification.crash.children import Ended
from tests.verification.crash.judge import Finding
from tests.verification.crash.scenes import Scene
from tests.verification.crash.trials import Boundary, Trial, staged

WRITING = (
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "link",
    "linkat",
    "rename",
    "renameat2",
    "mkdir",
)
TALKING = ("sendto", "recvfrom", "connect", "unlink", "flock")
ERRORS = ("ENOSPC", "EIO", "EDQUOT", "EROFS")

_CALL = re.compile(r"(\d+) +(\w+)\(")
_PR_SET_PTRACER = 0x59616D61
_ANY = ctypes.c_ulong(-1)


def stopped(trial: Trial, _chance: Random, at: Boundary) -> Iterator[Finding]:
    """Killed as it enters a system call."""
    ended, _ = _run(trial, WRITING + TALKING, f"{at.label}:signal=SIGKILL:when={at.nth}")
    trial.struck += [f"kill {at.label}"] if trial.kills else []
    yield from trial.conclude(trial.run()) if trial.kills else trial.conclude(ended)


def refused(trial: Trial, _chance: Random, at: Boundary) -> Iterator[Finding]:
    """A call that writes is refused, once or from then on: a disk that is full, broken, over quota
    or read-only.
    """
    call, error, ever = at.label.split(" ")
    ended, calls = _run(
        trial, WRITING, f"{call}:error={error}:when={at.nth}{'+' if ever == 'ever' else ''}"
    )
    trial.struck += [at.label] if any("(INJECTED)" in line for line in calls) else []
    if ended.code not in {0, 1, 2, 5}:
        yield Finding("exit codes", f"{at.label} {at.nth} ended with {ended.code}")
    if "Traceback" in (log := _log(trial)):
        yield Finding("exit codes", f"{at.label} {at.nth} ended in a traceback: {log[-600:]}")
    trial.left += 1
    yield from trial.conclude(trial.run())


def calls_of(scene: Scene) -> list[Boundary]:
    """Run a scene undisturbed, and return its system calls, each as the n-th of a thread."""
    return _recorded(scene, WRITING + TALKING)


def refusals_of(scene: Scene) -> list[Boundary]:
    """The same, of those that write, with every way in which the kernel may refuse one."""
    return [
        Boundary(f"{call.label} {error} {ever}", call.nth)
        for call in _recorded(scene, WRITING)
        for error in ERRORS
        for ever in ("once", "ever")
    ]


def _recorded(scene: Scene, names: Sequence[str]) -> list[Boundary]:
    with staged(scene, lambda: None) as trial:
        _, lines = _run(trial, names, "")
    counts = Counter(found.groups() for line in lines if (found := _CALL.match(line)))
    most: Counter[str] = Counter()
    for (_, name), count in counts.items():
        most[name] = max(most[name], count)
    return [Boundary(name, nth) for name, count in most.items() for nth in range(1, count + 1)]


def _run(trial: Trial, names: Sequence[str], inject: str) -> tuple[Ended, list[str]]:
    """Run the command under strace.

    Returns how it ended, and strace's lines; ``inject`` is its rule, if any.
    """
    output = trial.folder / "strace"
    gate, opener = os.pipe()
    plant, trial.plant, trial.bare = trial.plant, _waiting(trial.plant, gate, opener), True
    try:
        started = trial.start()
        os.close(gate)
        with _attached(started.pid, output, names, inject):
            os.close(opener)
            ended = trial.end(started)
    finally:
        trial.plant, trial.bare = plant, False
    return ended, output.read_text(errors="replace").splitlines()


def _waiting(plant: Callable[[], None], gate: int, opener: int) -> Callable[[], None]:
    """Let whoever traces it come first."""

    def wait() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANY, 0, 0, 0)
        os.close(opener)
        os.read(gate, 1)
        os.close(gate)
        plant()

    return wait


def _attached(pid: int, output: Path, names: Sequence[str], inject: str) -> subprocess.Popen[str]:
    strace = shutil.which("strace")
    if strace is None:
        raise RuntimeError(
            "strace is needed to stop a run at its system calls: apt-get install strace"
        )
    # A leading ? lets a call be one that this machine's kernel hasn't got.
    traced = ",".join(f"?{name}" for name in names)
    rules = ["-e", f"inject={inject}"] if inject else []
    command = [
        strace,
        "-f",
        "-s",
        "0",
        "-o",
        str(output),
        "-e",
        f"trace={traced}",
        *rules,
        "-p",
        str(pid),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    if "attached" not in (line := process.stderr.readline()):
        raise RuntimeError(f"strace can't trace a process of ours: {line}{process.stderr.read()}")
    return process


def _log(trial: Trial) -> str:
    return "".join(path.read_text(errors="replace") for path in sorted(trial.folder.glob("log-*")))
