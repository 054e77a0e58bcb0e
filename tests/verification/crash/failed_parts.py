"""Trials in which a part of the run raises an error: before all others have begun, or after them,
at each of its moments, with an error that is explained or a bug.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from random import Random

from crucible_batch.error_codes import BUG_EXIT_CODE
from crucible_batch.errors import RunDirectoryError
from crucible_batch.features import registry
from crucible_batch.journal import is_locked
from tests.harness.failing_part import (
    MOMENTS,
    NOT_REPORTED,
    NOTHING_BOUGHT,
    NOTHING_CREATED,
    FailingPart,
)
from tests.verification.crash.judge import Finding, ask
from tests.verification.crash.scenes import Scene
from tests.verification.crash.trials import Boundary, Trial

ERRORS = {"refused": RunDirectoryError("refused"), "bug": RuntimeError("a bug")}
PLACES = ("first", "last")
_USED = ("generate", "asset-create", "upload", "download")


def moments_of(_scene: Scene) -> list[Boundary]:
    """Return the moments of a part, once for each place in the list and each error."""
    return [Boundary(" ".join(at), 1) for at in product(ERRORS, PLACES, MOMENTS)]


def part_failed(trial: Trial, _chance: Random, at: Boundary) -> Iterator[Finding]:
    """A part raises an error, and the same command is then run without it."""
    error, place, moment = at.label.split(" ", 2)
    sound = trial.plant
    trial.plant = partial(_plant, sound, place, FailingPart(moment, ERRORS[error]))
    code = trial.run().code
    trial.plant = sound
    trial.struck.append(at.label)
    yield from _left(trial, moment, code, BUG_EXIT_CODE if error == "bug" else 2)
    yield from trial.conclude(trial.run())


def _plant(sound: Callable[[], None], place: str, part: FailingPart) -> None:
    sound()
    known, failing = registry._RUN_PARTS, (lambda: part, registry._ALL)
    parts = [failing, *known] if place == "first" else [*known, failing]
    registry._RUN_PARTS = parts  # type: ignore[assignment]


def _left(trial: Trial, moment: str, code: int, expected: int) -> Iterator[Finding]:
    """Yield what is wrong with what the failed run has left."""
    if code != expected:
        yield Finding("exit codes", f"it ended with {code}, and not with {expected}")
    if is_locked(trial.run_dir):
        yield Finding("leftovers", "the lock is held")
    if trial.run_dir.exists() is (moment in NOTHING_CREATED):
        yield Finding("leftovers", "there is a directory where nothing began, or none where it did")
    if (trial.run_dir / "report.json").exists() is (moment in NOT_REPORTED):
        yield Finding("books", "there is a report of a run that has none, or none of one that has")
    asked = ask(trial.sandbox.url)["requests"]
    if any(map(asked.get, _USED)) is (moment in NOTHING_BOUGHT):
        yield Finding("conduct", f"before {moment}, the gateway was asked for {asked}")
