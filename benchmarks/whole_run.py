"""The whole run: the command on a manifest, beside the shortest script that keeps the same promise.

Both processes are measured from their first instruction to their last, start-up, planning and the
report included. The floor may be killed at any moment and pays for nothing twice: it journals five
events a job before each next step, opens the picture, syncs its bytes and its name, and reads the
list of outputs once more. For scale the notes have a bare script, which does none of this.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.gateway import KEY, WORKFLOW, running
from benchmarks.process import (
    FLOORS,
    Cost,
    emptied,
    interleaved,
    median,
    median_ratio,
    run,
    scratch_folder,
)
from benchmarks.row import Row

IN_FLIGHT = 64
PACE, CPU = 0.7, 1.5
"""The goals beside the floor: at least so much of its pace, at most so many times its CPU."""
_WHY_FLOOR = (
    "in addition to the work of the script, credits are held and settled within a budget, "
    "responses are validated and searched for the API key, each output gets a folder and a "
    "receipt, polls are scheduled, progress is shown, and the jobs are planned and reported. "
    "`python -m benchmarks.layers` prints the time of each layer"
)
_WHY_PROCESSES = (
    "the floor waits for the server, which shares the two cores with both; "
    "the cost of a job is explained above"
)


def manifest(folder: Path, jobs: int) -> Path:
    """Write a manifest of so many jobs."""
    path = folder / "bench.yaml"
    wanted = [{"name": f"j{number}", "prompt": f"lighthouse {number}"} for number in range(jobs)]
    path.write_text(
        json.dumps({"version": 1, "name": "bench", "workflow": WORKFLOW, "jobs": wanted})
    )
    return path


def product(url: str, scratch: Path, jobs: int, *more: str) -> Cost:
    """Run the command, with a journal, a budget and plain progress. Each run has an id of its own:
    it is to buy, and not to find what one before it bought."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    options: list[str | Path] = [
        "--out-dir",
        folder / "out",
        "--run-id",
        folder.name,
        "--budget",
        "10000000",
        "-c",
        str(IN_FLIGHT),
        "--display",
        "plain",
    ]
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "crucible_batch",
        "run",
        manifest(folder, jobs),
        *options,
        "--no-html",
        *more,
    ]
    cost = run(
        command, folder=folder, environment={"MOLTAZINE_API_KEY": KEY, "CRUCIBLE_API_BASE": url}
    )
    emptied(folder / "out", "*/*.png", jobs)
    return cost


def script(url: str, scratch: Path, jobs: int, path: Path) -> Cost:
    """Run a script that works on all jobs in one process."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    cost = run([sys.executable, path, url, str(jobs), str(IN_FLIGHT), folder], folder=folder)
    emptied(folder, "*.png", jobs)
    return cost


def process_each(url: str, scratch: Path, jobs: int, program: Sequence[str]) -> Cost:
    """Run a floor that takes a process for a job, as many at once as are best for it: twice the
    cores.
    """
    folder = Path(tempfile.mkdtemp(dir=scratch))
    line = f"seq {jobs} | xargs -P 4 -I NUMBER {' '.join(program)} {url} {folder} NUMBER"
    cost = run(["sh", "-c", line], folder=folder)
    emptied(folder, "*.png", jobs)
    return cost


def _beside_floor(output_bytes: int, jobs: int, rounds: int) -> Iterator[Row]:
    scratch = scratch_folder()
    with running(output_bytes=output_bytes) as url:
        contenders: dict[str, Callable[[], Cost]] = {
            "ours": partial(product, url, scratch, jobs),
            "floor": partial(script, url, scratch, jobs, FLOORS / "safe_jobs.py"),
            "bare": partial(script, url, scratch, jobs, FLOORS / "aiohttp_jobs.py"),
        }
        costs = interleaved(contenders, rounds)
    ours, floor = costs["ours"], costs["floor"]
    pace = median_ratio(
        [jobs / cost.wall_s for cost in ours], [jobs / cost.wall_s for cost in floor]
    )
    cpu = median_ratio([cost.cpu_s for cost in ours], [cost.cpu_s for cost in floor])
    size = (
        f"{output_bytes // 1000} KB"
        if output_bytes < 1_000_000
        else f"{output_bytes // 1_000_000} MB"
    )
    paces = "{:.0f} jobs/s beside {:.0f}; a bare script {:.0f}".format(
        *(median(jobs / cost.wall_s for cost in of_one) for of_one in costs.values())
    )
    cpus = "{:.2f} ms beside {:.2f}; a bare script {:.2f}".format(
        *(1000 * median(cost.cpu_s / jobs for cost in of_one) for of_one in costs.values())
    )
    size_of_it = f"{jobs} jobs, {rounds} rounds"
    what = f"complete run, outputs of {size}, beside the shortest script that keeps the promise"
    yield Row(
        f"{what}: jobs/s",
        f"≥ {PACE}×",
        f"{pace:.2f}×",
        pace >= PACE,
        f"{paces}; {size_of_it}",
        _WHY_FLOOR,
    )
    yield Row(
        f"{what}: CPU a job",
        f"≤ {CPU}×",
        f"{cpu:.2f}×",
        cpu <= CPU,
        f"{cpus}; {size_of_it}",
        _WHY_FLOOR,
    )


def _beside_processes(jobs: int, few: int, rounds: int) -> Iterator[Row]:
    scratch = scratch_folder()
    node = ["node", str(FLOORS / "node_job.mjs")]
    with running() as url:
        contenders: dict[str, Callable[[], Cost]] = {
            "ours": partial(product, url, scratch, jobs),
            "floor": partial(process_each, url, scratch, few, node),
        }
        costs = interleaved(contenders, rounds)
    ours = [jobs / cost.wall_s for cost in costs["ours"]]
    floor = [few / cost.wall_s for cost in costs["floor"]]
    ratio = median_ratio(ours, floor)
    yield Row(
        "complete run, beside a node process for each job: jobs/s",
        "≥ 80×",
        f"{ratio:.0f}×",
        ratio >= 80,
        f"{median(ours):.0f} jobs/s beside {median(floor):.1f}",
        _WHY_PROCESSES,
    )


def rows(quick: bool) -> Iterator[Row]:
    """Measure."""
    rounds = 1 if quick else 3
    # So many jobs that a run's start counts little.
    yield from _beside_floor(200_000, 500 if quick else 10_000, rounds)
    yield from _beside_floor(1_000_000, 200 if quick else 3_000, rounds)
    yield from _beside_processes(500 if quick else 1_000, 20 if quick else 40, rounds)
