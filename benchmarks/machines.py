"""A run that is divided among processes, beside one process with as many jobs in flight.

Both buy the same jobs in the same directory, on the same two cores: what is measured is the price
of dividing, of the logs and of merging, and not what further machines would add.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.gateway import KEY, WORKFLOW, running
from benchmarks.process import Cost, emptied, interleaved, median, median_ratio, run, scratch_folder
from benchmarks.row import Row

PROCESSES, IN_FLIGHT = 4, 64
GOAL = 0.8
_WHY = (
    "a divided run first buys one job to learn the price, starts a process for each shard, reads"
    " their logs once a second, and merges journals and outputs at the end; its processes share the"
    " cores with the gateway and with each other"
)


def divided(url: str, scratch: Path, jobs: int, processes: int) -> Cost:
    """Run jobs with 64 in flight: in one process, or divided among several here."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    manifest = folder / "bench.yaml"
    manifest.write_text(
        json.dumps(
            {
                "version": 1,
                "name": folder.name,
                "workflow": WORKFLOW,
                "concurrency": IN_FLIGHT // processes,
                "budget": {"credits": 10_000_000, "max_credits_per_job": 1},
                "jobs": [
                    {"name": f"j{number}", "prompt": f"lighthouse {number}"}
                    for number in range(jobs)
                ],
            }
        )
    )
    on = ["--on", f"local:{processes}", "--divide", str(processes)] if processes > 1 else []
    command = [sys.executable, "-m", "crucible_batch", "run", manifest, "--out-dir", folder / "out"]
    cost = run(
        [*command, "--display", "plain", "--no-html", *on],
        folder=folder,
        environment={
            "MOLTAZINE_API_KEY": KEY,
            "CRUCIBLE_API_BASE": url,
            "XDG_STATE_HOME": str(folder / "state"),
        },
    )
    emptied(folder / "out", "*/*.png", jobs)
    return cost


def _beside_one(service_s: float, jobs: int, rounds: int) -> Row:
    scratch = scratch_folder()
    with running(service_s=service_s) as url:
        contenders: dict[str, Callable[[], Cost]] = {
            "one": partial(divided, url, scratch, jobs, 1),
            "several": partial(divided, url, scratch, jobs, PROCESSES),
        }
        costs = interleaved(contenders, rounds)
    paces = {name: [jobs / cost.wall_s for cost in found] for name, found in costs.items()}
    ratio = median_ratio(paces["several"], paces["one"])
    kind = f"jobs of {service_s:g} s" if service_s else "jobs that cost only CPU"
    return Row(
        f"`--on local:{PROCESSES}` beside one process, {IN_FLIGHT} in flight, {kind}: jobs/s",
        f"≥ {GOAL}×",
        f"{ratio:.2f}×",
        ratio >= GOAL,
        f"{median(paces['several']):.0f} jobs/s beside {median(paces['one']):.0f}; {jobs} jobs,"
        f" {rounds} rounds, start, probe, merge and report included",
        _WHY,
    )


def rows(quick: bool) -> Iterator[Row]:
    """Measure."""
    rounds = 1 if quick else 3
    yield _beside_one(2.0, 128 if quick else 320, rounds)
    yield _beside_one(0.0, 200 if quick else 400, rounds)
