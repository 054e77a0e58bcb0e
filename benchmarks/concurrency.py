"""CPU a request as concurrency grows: a pool that looks at all its connections for each request
would show here.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.gateway import running
from benchmarks.process import OURS, Cost, interleaved, median, median_ratio, run
from benchmarks.row import Row

FEW, MANY = 16, 256


def looks(url: str, folder: Path, requests: int, in_flight: int) -> Cost:
    """Return the CPU of a request, as the client's process counts it while it does nothing else."""
    cost = run(
        [sys.executable, OURS / "looks.py", url, str(requests), str(in_flight)], folder=folder
    )
    return Cost(cost.wall_s, float((folder / "said.log").read_text()))


def rows(quick: bool) -> Iterator[Row]:
    """Measure."""
    requests, rounds = (2_048, 1) if quick else (8_192, 5)
    with tempfile.TemporaryDirectory() as folder, running() as url:
        contenders = {
            count: partial(looks, url, Path(folder), requests, count) for count in (FEW, MANY)
        }
        costs = interleaved(contenders, rounds)
    few, many = ([cost.cpu_s for cost in costs[count]] for count in (FEW, MANY))
    ratio = median_ratio(many, few)
    note = (
        f"{1e6 * median(many):.0f} µs beside {1e6 * median(few):.0f}; "
        f"{requests} polls of a job, {rounds} rounds"
    )
    yield Row(
        f"CPU a request, {MANY} in flight beside {FEW}",
        "≤ 1.3×",
        f"{ratio:.2f}×",
        ratio <= 1.3,
        note,
    )
