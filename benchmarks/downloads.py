"""Downloads of 1 MiB, 32 at once: ours checked, hashed, synced and named, curl's hashed and
renamed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.gateway import running
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

AT_ONCE = 32
OUTPUT_BYTES = 1024 * 1024

_WHY = (
    "each output is also opened as an image and synced before it gets its name, "
    "which curl's files are not"
)


def rows(quick: bool) -> Iterator[Row]:
    """Measure."""
    count, rounds = (100, 1) if quick else (500, 3)

    def contender(*program: str | Path) -> Callable[[], Cost]:
        def contend() -> Cost:
            folder = Path(tempfile.mkdtemp(dir=scratch))
            cost = run([*program, url, str(count), str(AT_ONCE), folder], folder=folder)
            emptied(folder, "*.png", count)
            return cost

        return contend

    scratch = scratch_folder()
    with running(output_bytes=OUTPUT_BYTES) as url:
        ours = contender(sys.executable, OURS / "downloads.py")
        curl = contender("sh", FLOORS / "curl_downloads.sh")
        costs = interleaved({"ours": ours, "curl": curl}, rounds)
    pace = {
        name: [count * OUTPUT_BYTES / 1e6 / cost.wall_s for cost in costs[name]] for name in costs
    }
    ratio = median_ratio(pace["ours"], pace["curl"])
    cpu = {name: 1000 * median(cost.cpu_s / count for cost in costs[name]) for name in costs}
    note = (
        f"{median(pace['ours']):.0f} MB/s beside {median(pace['curl']):.0f}, "
        f"{cpu['ours']:.1f} ms of CPU a file beside {cpu['curl']:.1f}; {count} files, "
        f"{rounds} rounds; curl's are not synced"
    )
    what = "downloads, beside `curl --parallel` and sha256sum: MB/s"
    yield Row(what, "≥ 0.95×", f"{ratio:.2f}×", ratio >= 0.95, note, _WHY)
