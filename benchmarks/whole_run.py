"""The whole run: the command on a manifest, beside what a person would write instead of it.

Both processes are measured from their first instruction to their last, start-up, planning and the
report included. The floor is a script that loses no picture in a power cut: digest, fsync and
rename in a thread, 50 ms between looks, but no journal, check, sidecar or report. For scale the
notes have the same script without digest and sync, and its loop by our client and output store
alone: what would be left of a run if engine, journal and report cost nothing.
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
    OURS,
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
PACE, CPU = 0.7, 1.6
"""The goals beside the floor: at least so much of its pace, at most so many times its CPU."""
_WHY_AIOHTTP = (
    "in addition to the work of the script, five events of a job (held, accepted, "
    "succeeded, saved, listed) are synced to the journal, each before the next step; responses are "
    "validated and searched for the API key, the output gets a folder and is opened as an image, "
    "receipt and sidecar are written, the next poll is scheduled, and two seconds after "
    "the output was saved, the list of outputs is read again: one more request per job. Start, "
    "planning and report are included. `python -m benchmarks.layers` prints the time of each layer"
)
_WHY_OTHERS = (
    "the cost of a job is explained above; the floors wait for the server, "
    "which shares the two cores with both"
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


def script(url: str, scratch: Path, jobs: int, path: Path, *more: str) -> Cost:
    """Run a script that works on all jobs in one process."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    cost = run([sys.executable, path, url, str(jobs), str(IN_FLIGHT), folder, *more], folder=folder)
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


def _beside_aiohttp(output_bytes: int, jobs: int, rounds: int) -> Iterator[Row]:
    scratch = scratch_folder()
    with running(output_bytes=output_bytes) as url:
        contenders: dict[str, Callable[[], Cost]] = {
            "ours": partial(product, url, scratch, jobs),
            "floor": partial(script, url, scratch, jobs, FLOORS / "aiohttp_jobs.py", "synced"),
            "plain": partial(script, url, scratch, jobs, FLOORS / "aiohttp_jobs.py"),
            "client": partial(script, url, scratch, jobs, OURS / "jobs.py"),
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
    paces = (
        "{:.0f} jobs/s beside {:.0f}; without digest and sync {:.0f}; "
        "our client and output store alone {:.0f}"
    ).format(*(median(jobs / cost.wall_s for cost in of_one) for of_one in costs.values()))
    cpus = (
        "{:.2f} ms beside {:.2f}; without digest and sync {:.2f}; "
        "our client and output store alone {:.2f}"
    ).format(*(1000 * median(cost.cpu_s / jobs for cost in of_one) for of_one in costs.values()))
    size_of_it = f"{jobs} jobs, {rounds} rounds"
    what = (
        f"complete run, outputs of {size}, beside an aiohttp script with digest, fsync and rename"
    )
    yield Row(
        f"{what}: jobs/s",
        f"≥ {PACE}×",
        f"{pace:.2f}×",
        pace >= PACE,
        f"{paces}; {size_of_it}",
        _WHY_AIOHTTP,
    )
    yield Row(
        f"{what}: CPU a job",
        f"≤ {CPU}×",
        f"{cpu:.2f}×",
        cpu <= CPU,
        f"{cpus}; {size_of_it}",
        _WHY_AIOHTTP,
    )


def _beside_others(jobs: int, few: int, rounds: int) -> Iterator[Row]:
    scratch = scratch_folder()
    with running() as url:
        curl, node = ["sh", str(FLOORS / "curl_job.sh")], ["node", str(FLOORS / "node_job.mjs")]
        contenders: dict[str, tuple[int, Callable[[], Cost]]] = {
            "ours": (jobs, partial(product, url, scratch, jobs)),
            "a plain httpx script": (
                4 * few,
                partial(script, url, scratch, 4 * few, FLOORS / "httpx_jobs.py"),
            ),
            "a curl for each request": (few, partial(process_each, url, scratch, few, curl)),
            "a node process for each job": (few, partial(process_each, url, scratch, few, node)),
        }
        costs = interleaved({name: contend for name, (_, contend) in contenders.items()}, rounds)
    pace = {
        name: [contenders[name][0] / cost.wall_s for cost in costs[name]] for name in contenders
    }
    for (name, floor), goal in zip([*pace.items()][1:], (10, 25, 80), strict=True):
        ratio = median_ratio(pace["ours"], floor)
        note = f"{median(pace['ours']):.0f} jobs/s beside {median(floor):.1f}"
        yield Row(
            f"complete run, beside {name}: jobs/s",
            f"≥ {goal}×",
            f"{ratio:.0f}×",
            ratio >= goal,
            note,
            _WHY_OTHERS,
        )


def rows(quick: bool) -> Iterator[Row]:
    """Measure."""
    rounds = 1 if quick else 3
    # So many jobs that a run's start and the two seconds at its end, which the script doesn't have,
    # count little.
    yield from _beside_aiohttp(200_000, 500 if quick else 10_000, rounds)
    yield from _beside_aiohttp(1_000_000, 200 if quick else 3_000, rounds)
    yield from _beside_others(500 if quick else 1_000, 20 if quick else 40, rounds)
