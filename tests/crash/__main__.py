"""Kill the product at every boundary of many scenes, and print what that did: ``make crash``.

    python -m tests.crash --rounds 10        ten scenes, each killed at all its boundaries, and more
    python -m tests.crash --json             one JSON object: figures, and every finding

Exits 1 where anything was found.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.crash import plants
from tests.crash.children import fork, get_ready
from tests.crash.scenes import Scene, any_scene, steady_scene
from tests.crash.trials import KINDS, Boundary, boundaries_of, play

COLUMNS = ("double charges", "lost outputs", "over budget", "leftovers", "uploads", "books", "attempts", "exit codes")


@dataclass(frozen=True)
class Task:
    """One trial to be played."""

    kind: str
    scene: Scene
    seed: int
    at: Boundary


def tasks_of(seed: int, kinds: dict[str, int], only: str) -> Iterator[Task]:
    """Yield a scene's trials: of each kind so many, 0 for one at each boundary. ``only`` picks boundaries by label."""
    scene = any_scene(seed) if seed else steady_scene()
    at_all = [boundary for boundary in boundaries_of(scene) if boundary.label.startswith(only)]
    for kind, count in kinds.items():
        chosen = Random(f"{seed} {kind}").sample(at_all, min(count, len(at_all))) if count else at_all
        for at in chosen:
            yield Task(kind, scene, seed, at)


def play_all(tasks: Sequence[Task], workers: int, plant: Callable[[], None]) -> list[dict[str, Any]]:
    """Play the trials, by ``workers`` processes at the same time."""
    pipes = []
    for worker in range(workers):
        reading, writing = os.pipe()

        def child(share: Sequence[Task] = tasks[worker::workers], told: int = writing) -> int:
            with os.fdopen(told, "w") as lines:
                lines.writelines(
                    json.dumps(play(task.kind, task.scene, task.seed, task.at, plant)) + "\n" for task in share
                )
            return 0

        fork(child)
        os.close(writing)
        pipes.append(reading)
    results = []
    for pipe in pipes:
        with os.fdopen(pipe) as told:
            results += [json.loads(line) for line in told]
    for _ in pipes:
        os.wait()
    if len(results) != len(tasks):
        raise RuntimeError(f"{len(tasks)} trials were to be played, {len(results)} were")
    return results


def figures(results: Sequence[dict[str, Any]], took_s: float) -> dict[str, Any]:
    """Add the trials up."""
    found = Counter(finding["kind"] for result in results for finding in result["findings"])
    return {
        "scenes": len({result["seed"] for result in results}),
        "trials": dict(Counter(result["kind"] for result in results)),
        "boundaries": len({(result["seed"], result["boundary"]) for result in results}),
        "struck": dict(Counter(label.split(" /")[0] for result in results for label in result["struck"])),
        "kills": sum(result["kills"] for result in results),
        "resumes": sum(result["resumes"] for result in results),
        "found": {column: found.pop(column, 0) for column in COLUMNS} | dict(found),
        "took_s": round(took_s, 1),
    }


def show(figures: dict[str, Any]) -> None:
    trials = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in figures["trials"].items())
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


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=1, help="scenes; the first is that of the test suite")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first scene")
    parser.add_argument("--workers", type=int, default=2, help="trials at the same time")
    parser.add_argument("--kind", action="append", metavar="KIND[=N]", help=f"of {', '.join(KINDS)}; N trials, or all")
    parser.add_argument("--only", default="", metavar="TEXT", help="boundaries whose label begins so")
    parser.add_argument("--plant", choices=sorted(plants.PLANTS), default="nothing", help="a bug to be found")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    wanted = parser.parse_args()
    kinds = {name: int(count or 0) for name, _, count in (kind.partition("=") for kind in wanted.kind or KINDS)}
    began = time.monotonic()
    get_ready()
    seeds = range(wanted.first, wanted.first + wanted.rounds)
    tasks = [task for seed in seeds for task in tasks_of(seed, kinds, wanted.only)]
    results = play_all(tasks, wanted.workers, plants.PLANTS[wanted.plant])
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
