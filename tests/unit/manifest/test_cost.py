"""What reading and planning cost, in counts: of passes, of statements, of templates compiled, and
of memory.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAD = "version: 1\nname: t\nworkflow: z\nvars: {brand: Acme}\n"
ORDERS = ["jobs last", "jobs first"]


def manifest(folder: Any, jobs: int, order: str = "jobs last") -> Path:
    entries = "jobs:\n" + "".join(
        (
            f"- name: j{number}\n  prompt: 'number {number} of {{{{ brand }}}}'\n"
            f"  params: {{seed: {number}}}\n"
        )
        for number in range(jobs)
    )
    return Path(folder.write("m.yaml", HEAD + entries if order == "jobs last" else entries + HEAD))


COST = """
import sys, time
from pathlib import Path
from benchmarks.process import peak_mb
from crucible_batch.runs.draft import fill_plan, read_source
from crucible_batch.runs.request import RunRequest
from crucible_batch.journal import PlanFile
with PlanFile.temporary() as plan:
    fill_plan(plan, read_source(RunRequest(Path(sys.argv[1]))), "default", {})
    print(len(plan), peak_mb(), time.process_time())
"""


def cost(path: Path, jobs: int) -> tuple[float, float]:
    """Plan a manifest in another process.

    Return its peak of memory in MB and its seconds of CPU.
    """
    ended = subprocess.run(
        [sys.executable, "-c", COST, str(path)], capture_output=True, text=True, check=True
    )
    made, peak_mb, cpu_s = ended.stdout.split()
    assert int(made) == jobs
    return float(peak_mb), float(cpu_s)


def test_ten_times_the_rows_take_hardly_more_memory(folder: Any) -> None:
    def peak_mb(rows: int) -> float:
        folder.write("rows.csv", "n\n" + "".join(f"{number}\n" for number in range(rows)))
        entry = (
            "jobs:\n- {name: 'j{{ row.n }}', foreach: rows.csv, "
            "prompt: '{{ row.n }} of {{ brand }}'}\n"
        )
        return cost(folder.write("m.yaml", HEAD + entry), rows)[0]

    assert peak_mb(20_000) < 1.2 * peak_mb(2_000)


@pytest.mark.parametrize("order", ORDERS)
def test_ten_thousand_jobs_in_yaml_take_little_memory_and_no_more_time_a_job_than_two_thousand(
    folder: Any, order: str
) -> None:
    """How many seconds they take is in docs/performance.md: a busy machine would fail any limit
    here.
    """
    few_s = cost(manifest(folder, 2_000, order), 2_000)[1]
    peak_mb, many_s = cost(manifest(folder, 10_000, order), 10_000)
    assert peak_mb < 150
    assert many_s < 8 * few_s
