"""Trials: a scene played with kills in it, to its end, and judged."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from crucible_batch.features.control.part import SOCKET
from tests.verification.crash.canary import leaks
from tests.verification.crash.children import Ended, Sandbox, Started, start_command, start_sandbox
from tests.verification.crash.failpoints import Strike
from tests.verification.crash.judge import (
    Finding,
    Past,
    ask,
    asks_for_an_upload_ceiling,
    judge,
    judge_repeat,
)
from tests.verification.crash.scenes import UPLOAD_PRICE, Scene

MEMORY = Path("/dev/shm")
"""A kill loses nothing that was written, synced or not, so a file system in memory does, and is
fast."""

BLOCKED = 4
"""The exit code of a run that has jobs left for which credits are missing."""


@dataclass(frozen=True)
class Boundary:
    """The ``nth`` effect of a run with this label."""

    label: str
    nth: int

    def strike(self, number: int, *, again_after: int = 0) -> Strike:
        return Strike(number, self.nth, self.label, again_after)


@dataclass
class Trial:
    """One scene in a folder and at a gateway of its own."""

    scene: Scene
    folder: Path
    sandbox: Sandbox
    plant: Callable[[], None]
    out: str = "out"
    """Where the run directory is, below the folder."""
    url: str = ""
    """Where the command finds the gateway; at the sandbox itself, unless something stands between
    the two."""
    bare: bool = False
    """Whether the command runs without failpoints."""
    kills: int = 0
    left: int = 0
    """How often a run was told to leave: no better than a kill, for an upload that is under way."""
    late: int = 0
    """How many requests reached the gateway after their sender had given them up."""
    runs: int = 0
    struck: list[str] = field(default_factory=list)

    @property
    def run_dir(self) -> Path:
        return self.folder / self.out

    def run(self, strike: Strike | None = None, *options: str) -> Ended:
        """Run the command to its end, or to that which ``strike`` makes it find."""
        return self.end(self.start(strike, *options))

    @property
    def environment(self) -> dict[str, str]:
        """What each command of the trial has beside the environment of whoever plays it."""
        return {
            "MOLTAZINE_API_KEY": self.sandbox.key,
            "CRUCIBLE_API_BASE": self.url or self.sandbox.url,
            "TMPDIR": str(self.folder / "tmp"),
            "XDG_STATE_HOME": str(self.folder / "state"),  # not the user's
        }

    def start(self, strike: Strike | None = None, *options: str) -> Started:
        args = [
            "run",
            "m.yaml",
            "--out-dir",
            self.out,
            "-q",
            "-c",
            str(self.scene.concurrency),
            *options,
        ]
        return start_command(
            args, self.folder, self.environment, strike, self.plant, bare=self.bare
        )

    def end(self, started: Started) -> Ended:
        ended = started.wait()
        self.runs += 1
        self.kills += ended.code == -signal.SIGKILL
        self.struck += ended.struck
        return ended

    def conclude(self, last: Ended, *, state_lost: bool = False) -> Iterator[Finding]:
        """Judge the last run, then run once more, which must cost nothing.

        Where kills lost the answers to uploads, the run may ask for the most that one may cost: it
        is told.
        """
        if (
            last.code == BLOCKED
            and self.kills + self.left
            and asks_for_an_upload_ceiling(self.run_dir)
        ):
            replace(self.scene, upload_ceiling=str(UPLOAD_PRICE)).write(self.folder)
            last = self.run()
        state = ask(self.sandbox.url)
        past = Past(self.kills + self.left, state_lost, self.late)
        yield from judge(self.scene, past, self.run_dir, last.code, state)
        again = self.run()
        yield from (Finding("leftovers", str(path)) for path in (self.folder / "tmp").iterdir())
        yield from judge_repeat(state, ask(self.sandbox.url), (last.code, again.code))
        yield from (Finding("canary", leak) for leak in leaks(self.folder))


@contextmanager
def staged(scene: Scene, plant: Callable[[], None]) -> Iterator[Trial]:
    """Set a scene up, and clear it away."""
    with tempfile.TemporaryDirectory(
        prefix="crash-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None
    ) as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        scene.write(folder)
        sandbox = start_sandbox(scene.gateway)
        try:
            yield Trial(scene, folder, sandbox, plant)
        finally:
            sandbox.stop()


def undisturbed(trial: Trial, _chance: Random, _at: Boundary) -> Iterator[Finding]:
    """Nothing happens."""
    yield from trial.conclude(trial.run())


def killed(trial: Trial, _chance: Random, at: Boundary) -> Iterator[Finding]:
    """Killed at a boundary."""
    trial.run(at.strike(signal.SIGKILL))
    yield from trial.conclude(trial.run())


def killed_twice(trial: Trial, chance: Random, at: Boundary) -> Iterator[Finding]:
    """Killed at a boundary, and the resume as well."""
    first = trial.run(at.strike(signal.SIGKILL))
    trial.run(Strike(signal.SIGKILL, chance.randint(1, len(first.trace))))
    yield from trial.conclude(trial.run())


def state_lost(trial: Trial, chance: Random, at: Boundary) -> Iterator[Finding]:
    """Killed, and then the journal is gone, or the whole directory, or an older copy of it comes
    back."""
    what = chance.choice(("journal", "directory", "copy"))
    first = trial.run(at.strike(signal.SIGKILL))
    if what == "journal":
        shutil.rmtree(trial.run_dir / ".crucible", ignore_errors=True)
    elif what == "directory":
        shutil.rmtree(trial.run_dir, ignore_errors=True)
    elif trial.run_dir.exists():
        # A killed run leaves the socket of its commands behind, which shutil can't copy.
        shutil.copytree(
            trial.run_dir, trial.folder / "copy", ignore=shutil.ignore_patterns(SOCKET.name)
        )
        trial.run(Strike(signal.SIGKILL, chance.randint(1, len(first.trace))))
        shutil.rmtree(trial.run_dir)
        (trial.folder / "copy").rename(trial.run_dir)
    yield from trial.conclude(trial.run(), state_lost=True)


def signalled(trial: Trial, chance: Random, at: Boundary) -> Iterator[Finding]:
    """Asked to stop: by Ctrl-C once or twice, SIGTERM or SIGHUP."""
    number, code = chance.choice(
        ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143))
    )
    twice = number is signal.SIGINT and chance.random() < 0.5
    stopped = trial.run(at.strike(number, again_after=chance.randint(1, 5) if twice else 0))
    if stopped.code != code and trial.struck:
        yield Finding("exit codes", f"{number.name} at {trial.struck} ended with {stopped.code}")
    trial.left += 1
    yield from trial.conclude(trial.run())


def together(trial: Trial, chance: Random, _at: Boundary) -> Iterator[Finding]:
    """Two to eight at the same time: one of them runs."""
    started = [trial.start() for _ in range(chance.randint(2, 8))]
    codes = [trial.end(each).code for each in started]
    last = trial.run()
    if set(codes) - {6, last.code} or last.code not in codes:
        yield Finding("exit codes", f"started together, they ended with {codes}")
    yield from trial.conclude(last)


PLAYS = (undisturbed, killed, killed_twice, state_lost, signalled, together)


def boundaries_of(scene: Scene) -> list[Boundary]:
    """Run a scene undisturbed, and return the effects that it reached, in their order."""
    with staged(scene, lambda: None) as trial:
        return boundaries_in(trial.run().trace)


def boundaries_in(trace: Iterable[str]) -> list[Boundary]:
    """Return the effects of a run by their labels, in their order."""
    seen: Counter[str] = Counter()
    return [Boundary(label, seen[label]) for label in trace if not seen.update([label])]
