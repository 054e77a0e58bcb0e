"""Uploads of 1 MB images, 8 at once: intent, bytes, and a look at the asset."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.gateway import running
from benchmarks.process import FLOORS, OURS, interleaved, median, median_ratio, run
from benchmarks.row import Row

AT_ONCE = 8
IMAGE_BYTES = 1_000_000


def rows(quick: bool) -> Iterator[Row]:
    """Measure."""
    count, rounds = (100, 1) if quick else (1_000, 3)
    with tempfile.TemporaryDirectory() as folder, running() as url:
        more = [url, str(count), str(AT_ONCE), str(IMAGE_BYTES)]
        ours = partial(run, [sys.executable, OURS / "uploads.py", *more], folder=Path(folder))
        floor = partial(
            run, [sys.executable, FLOORS / "aiohttp_uploads.py", *more], folder=Path(folder)
        )
        costs = interleaved({"ours": ours, "floor": floor}, rounds)
    pace = {name: [count / cost.wall_s for cost in costs[name]] for name in costs}
    ratio = median_ratio(pace["ours"], pace["floor"])
    cpu = {name: 1000 * median(cost.cpu_s / count for cost in costs[name]) for name in costs}
    note = (
        f"{median(pace['ours']):.0f} images/s beside {median(pace['floor']):.0f}, "
        f"{cpu['ours']:.2f} ms of CPU an image beside {cpu['floor']:.2f}; "
        f"{count} images, {rounds} rounds"
    )
    yield Row(
        "uploads of 1 MB, beside a bare aiohttp script: images/s",
        "≥ 0.9×",
        f"{ratio:.2f}×",
        ratio >= 0.9,
        note,
    )
