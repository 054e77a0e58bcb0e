"""Kill the product at every boundary of many scenes, and print what that did: ``make crash``.

    python -m tests.verification.crash --rounds 10
        ten scenes, each killed at all its boundaries, and more
    python -m tests.verification.crash --kind proxied --scene six --seconds 600
        one scene, for ten minutes
    python -m tests.verification.crash --json
        one JSON object: figures, and every finding

Exits 1 where anything was found.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.verification.crash import plants
from tests.verification.crash.children import fork, get_ready
from tests.verification.crash.kinds import KINDS, play
from tests.verification.crash.scenes import SCENES, Scene
from tests.verification.crash.trials import PLAYS, Boundary

COLUMNS = (
    "double charges",
    "lost outputs",
    "over budget",
    "leftovers",
    "uploads",
    "books",
    "attempts",
    "conduct",
    "canary",
    "exit codes",
    "unfinished",
)


@dataclass(frozen=True)
class Task:
    """One trial to be played."""

    kind: str
    scene: Scene
    seed: int
    at: Boundary


def tasks_of(scene: Scene, seed: int, kinds: dict[str, int], only: str) -> Iterator[Task]:
    """Yield a scene's trials: of each kind so many, 0 for one at each place. ``only`` picks places
    by label.
    """
    places = {find: find(scene) for find in {KINDS[kind].places for kind in kinds}}
    for kind, count in kinds.items():
        at_all = [place for place in places[KINDS[kind].places] if place.label.startswith(only)]
        chosen = (
            Random(f"{seed} {kind}").sample(at_all, min(count, len(at_all))) if count else at_all
        )
        for at in chosen:
            yield Task(kind, scene, seed, at)


def each_in_turn(tasks: Sequence[Task]) -> list[Task]:
    """Bring each kind of place, or of fault, up early, so that where time ends soon none was left
    out."""
    seen: Counter[str] = Counter()
    turns = []
    for task in tasks:
        what = f"{task.kind} {task.at.label.partition(' @ ')[0]}"
        turns.append(seen[what])
        seen[what] += 1
    return [task for _, task in sorted(zip(turns, tasks, strict=True), key=lambda each: each[0])]


def play_all(
    tasks: Sequence[Task], workers: int, plant: Callable[[], None], until: float = math.inf
) -> list[dict[str, Any]]:
    """Play the trials, by ``workers`` processes at the same time; none is begun after ``until``."""
    pipes = []
    for worker in range(workers):
        reading, writing = os.pipe()

        def child(share: Sequence[Task] = tasks[worker::workers], told: int = writing) -> int:
            with os.fdopen(told, "w") as lines:
                for task in itertools.takewhile(lambda _: time.monotonic() < until, share):
                    lines.write(
                        json.dumps(play(task.kind, task.scene, task.seed, task.at, plant)) + "\n"
                    )
            return 0

        fork(child)
        os.close(writing)
        pipes.append(reading)
    results = []
    for pipe in pipes:
        with os.fdopen(pipe) as told:
            results += [json.loads(line) for line in told]
    failed = sum(os.wait()[1] != 0 for _ in pipes)
    if failed or (len(results) != len(tasks) and until == math.inf):
        raise RuntimeError(
            f"{len(tasks)} trials were to be played, {len(results)} were; {failed} workers failed"
        )
    return results


def figures(results: Sequence[dict[str, Any]], took_s: float) -> dict[str, Any]:
    """Add the trials up."""
    found = Counter(finding["kind"] for result in results for finding in result["findings"])
    return {
        "scenes": len({result["seed"] for result in results}),
        "trials": dict(Counter(result["kind"] for result in results)),
        "boundaries": len({(result["seed"], result["boundary"]) for result in results}),
        "struck": dict(
            Counter(label.split(" /")[0] for result in results for label in result["struck"])
        ),
        "kills": sum(result["kills"] for result in results),
        "resumes": sum(result["resumes"] for result in results),
        "found": {column: found.pop(column, 0) for column in COLUMNS} | dict(found),
        "took_s": round(took_s, 1),
    }


def show(figures: dict[str, Any]) -> None:
    trials = ", ".join(
        f"{count} {kind.replace('_', ' ')}" for kind, count in figures["trials"].items()
    )
    rows = [
        ("scenes", figures["scenes"]),
        ("boundaries", figures["boundaries"]),
        ("trials", f"{sum(figures['trials'].values())}: {trials}"),
        ("kills", figures["kills"]),
        ("resumes", figures["resumes"]),
        *figures["found"].items(),
        ("seconds", figures["took_s"]),
    ]
    for name, value in rows:
        print(f"{name:<16}{value}")


def play_rounds(
    wanted: argparse.Namespace, kinds: dict[str, int], until: float
) -> list[dict[str, Any]]:
    """Play so many rounds, or one after the other until the time is over, each in an order of its
    own."""
    results: list[dict[str, Any]] = []
    rounds = (
        itertools.count(wanted.first)
        if until < math.inf
        else range(wanted.first, wanted.first + wanted.rounds)
    )
    for seed in rounds:
        tasks = list(tasks_of(SCENES[wanted.scene](seed), seed, kinds, wanted.only))
        Random(seed).shuffle(tasks)
        results += play_all(each_in_turn(tasks), wanted.workers, plants.PLANTS[wanted.plant], until)
        if time.monotonic() >= until:
            break
    return results


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.verification.crash", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--rounds", type=int, default=1, help="scenes; the first is that of the test suite"
    )
    parser.add_argument(
        "--seconds", type=float, help="go on with another round until so many are over"
    )
    parser.add_argument(
        "--scene", choices=SCENES, default="any", help="one for all rounds; any: another for each"
    )
    parser.add_argument("--first", type=int, default=0, help="the seed of the first round")
    parser.add_argument("--workers", type=int, default=2, help="trials at the same time")
    parser.add_argument(
        "--kind",
        action="append",
        metavar="KIND[=N]",
        help=f"of {', '.join(KINDS)}; N trials, or all",
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="boundaries whose label begins so"
    )
    parser.add_argument(
        "--plant", choices=sorted(plants.PLANTS), default="nothing", help="a bug to be found"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    wanted = parser.parse_args()
    given = wanted.kind or [play.__name__ for play in PLAYS]
    kinds = {name: int(count or 0) for name, _, count in (kind.partition("=") for kind in given)}
    began = time.monotonic()
    get_ready()
    results = play_rounds(
        wanted, kinds, began + wanted.seconds if wanted.seconds is not None else math.inf
    )
    told = figures(results, time.monotonic() - began)
    findings = [result for result in results if result["findings"]]
    if wanted.json:
        print(json.dumps({**told, "findings": findings}))
    else:
        show(told)
        for result in findings:
            print(json.dumps(result, indent=1))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
