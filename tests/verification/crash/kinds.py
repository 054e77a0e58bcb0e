"""The kinds of trials, and the places of a scene at which each can be played."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from tests.verification.crash import failed_parts, powercut, proxied, traced, trials
from tests.verification.crash.judge import Finding
from tests.verification.crash.scenes import Scene
from tests.verification.crash.trials import Boundary, Trial, boundaries_of, staged

Play = Callable[[Trial, Random, Boundary], Iterator[Finding]]


@dataclass(frozen=True)
class Kind:
    """A trial, and from a scene to all places where it can be played."""

    play: Play
    places: Callable[[Scene], list[Boundary]] = boundaries_of


KINDS: Mapping[str, Kind] = {
    **{play.__name__: Kind(play) for play in trials.PLAYS},
    "part_failed": Kind(failed_parts.part_failed, failed_parts.moments_of),
    "proxied": Kind(proxied.proxied, proxied.exchanges_of),
    "stopped": Kind(traced.stopped, traced.calls_of),
    "refused": Kind(traced.refused, traced.refusals_of),
    "unplugged": Kind(powercut.unplugged, powercut.boundaries_on_disk),
}


def play(
    kind: str, scene: Scene, seed: int, at: Boundary, plant: Callable[[], None]
) -> dict[str, Any]:
    """Play one trial, and tell all about it in plain values."""
    with staged(scene, plant) as trial:
        findings = [
            asdict(finding)
            for finding in KINDS[kind].play(trial, Random(f"{seed} {kind} {at}"), at)
        ]
        log = "".join(
            path.read_text(errors="replace") for path in sorted(trial.folder.glob("log-*"))
        )
        return {
            "kind": kind,
            "seed": seed,
            "boundary": f"{at.label} {at.nth}",
            "struck": trial.struck,
            "kills": trial.kills,
            "resumes": trial.runs - 1,
            "findings": findings,
            "log": log[-2000:] if findings else "",
        }
