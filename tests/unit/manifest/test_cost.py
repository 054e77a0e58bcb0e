"""What reading and planning cost, in counts: of passes, of statements, of templates compiled, and of memory."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from crucible_batch.api.draft import fill_plan, read_source
from crucible_batch.api.request import RunRequest
from crucible_batch.journal import PlanFile
from crucible_batch.manifest import yaml_reader
from crucible_batch.manifest.template_sandbox import Sandbox

HEAD = "version: 1\nname: t\nworkflow: z\nvars: {brand: Acme}\n"
ORDERS = ["jobs last", "jobs first"]


def manifest(folder: Any, jobs: int, order: str = "jobs last") -> Path:
    entries = "jobs:\n" + "".join(
        f"- name: j{number}\n  prompt: 'number {number} of {{{{ brand }}}}'\n  params: {{seed: {number}}}\n"
        for number in range(jobs)
    )
    return Path(folder.write("m.yaml", HEAD + entries if order == "jobs last" else entries + HEAD))


def planned(path: Path) -> int:
    with PlanFile.temporary() as plan:
        fill_plan(plan, read_source(RunRequest(path)), "default", {})
        return len(plan)


@pytest.mark.parametrize("order", ORDERS)
def test_the_events_of_a_manifest_are_made_once_whatever_the_order_of_its_keys(
    folder: Any, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    seen: Counter[str] = Counter()

    class Counting(yaml.CSafeLoader):
        def get_event(self) -> Any:
            seen["events"] += 1
            return super().get_event()

    monkeypatch.setattr(yaml_reader, "_LOADER", Counting)
    path = manifest(folder, 200, order)
    assert planned(path) == 200
    assert seen["events"] == sum(1 for _ in yaml.parse(path.read_text(), Loader=yaml.CSafeLoader))


@pytest.mark.parametrize("order", ORDERS)
def test_a_job_takes_three_statements_and_no_template_of_its_own(
    folder: Any, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    seen: Counter[str] = Counter()
    connect, compile_one = sqlite3.connect, Sandbox.from_string

    def counting(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(lambda _statement: seen.update(["statements"]))
        return connection

    def compiling(sandbox: Sandbox, *arguments: Any) -> Any:
        seen["templates"] += 1
        return compile_one(sandbox, *arguments)

    monkeypatch.setattr(sqlite3, "connect", counting)
    monkeypatch.setattr(Sandbox, "from_string", compiling)

    def counted(jobs: int) -> Counter[str]:
        seen.clear()
        assert planned(manifest(folder, jobs, order)) == jobs
        return Counter(seen)

    few, many = counted(100), counted(400)
    assert many["statements"] - few["statements"] == 300 * 3  # claims of its name and its identity, its row
    assert many["templates"] == few["templates"]


COST = """
import sys, time
from pathlib import Path
from benchmarks.process import peak_mb
from crucible_batch.api.draft import fill_plan, read_source
from crucible_batch.api.request import RunRequest
from crucible_batch.journal import PlanFile
with PlanFile.temporary() as plan:
    fill_plan(plan, read_source(RunRequest(Path(sys.argv[1]))), "default", {})
    print(len(plan), peak_mb(), time.process_time())
"""


def cost(path: Path, jobs: int) -> tuple[float, float]:
    """Plan a manifest in another process. Return its peak of memory in MB and its seconds of CPU."""
    ended = subprocess.run([sys.executable, "-c", COST, str(path)], capture_output=True, text=True, check=True)
    made, peak_mb, cpu_s = ended.stdout.split()
    assert int(made) == jobs
    return float(peak_mb), float(cpu_s)


def test_ten_times_the_rows_take_hardly_more_memory(folder: Any) -> None:
    def peak_mb(rows: int) -> float:
        folder.write("rows.csv", "n\n" + "".join(f"{number}\n" for number in range(rows)))
        entry = "jobs:\n- {name: 'j{{ row.n }}', foreach: rows.csv, prompt: '{{ row.n }} of {{ brand }}'}\n"
        return cost(folder.write("m.yaml", HEAD + entry), rows)[0]

    assert peak_mb(20_000) < 1.2 * peak_mb(2_000)


@pytest.mark.parametrize("order", ORDERS)
def test_ten_thousand_jobs_in_yaml_take_little_memory_and_no_more_time_a_job_than_two_thousand(
    folder: Any, order: str
) -> None:
    """How many seconds they take is in docs/performance.md: a busy machine would fail any limit here."""
    few_s = cost(manifest(folder, 2_000, order), 2_000)[1]
    peak_mb, many_s = cost(manifest(folder, 10_000, order), 10_000)
    assert peak_mb < 150
    assert many_s < 8 * few_s
