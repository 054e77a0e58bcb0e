"""``python -m benchmarks.scale [JOBS] [SHARDS]``: what a divided run costs a job, for the estimates
of docs/machines.md.

It plans, runs and merges a manifest of JOBS jobs in SHARDS shards with the command, against a
gateway that costs next to nothing, then plans ten times as many jobs. Each figure is printed with
what it is divided by. The machine's load is printed, since other processes make each time longer.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.gateway import KEY, WORKFLOW, running
from benchmarks.process import Cost, run, scratch_folder

_COMMAND = (sys.executable, "-m", "crucible_batch")
_FACTOR = 10


class Place:
    """A folder with a manifest, in which the command is run."""

    def __init__(self, url: str, folder: Path, jobs: int) -> None:
        self.folder, self.url = folder, url
        folder.mkdir()
        with (folder / "jobs.csv").open("w") as file:
            file.write("number\n")
            file.writelines(f"{number}\n" for number in range(jobs))
        budget = {"credits": 10_000_000, "max_credits_per_job": 1}
        table = {
            "name": "j{{ row.number }}",
            "prompt": "lighthouse {{ row.number }}",
            "foreach": "jobs.csv",
        }
        head = {
            "version": 1,
            "name": "bench",
            "workflow": WORKFLOW,
            "concurrency": 64,
            "budget": budget,
        }
        (folder / "bench.yaml").write_text(json.dumps({**head, "jobs": [table]}))

    @property
    def main(self) -> Path:
        return self.folder / "outputs" / "bench" / "default"

    def command(self, *words: str) -> Cost:
        environment = {"MOLTAZINE_API_KEY": KEY, "CRUCIBLE_API_BASE": self.url}
        return run([*_COMMAND, *words], folder=self.folder, environment=environment)

    def plan(self, shards: int) -> Cost:
        return self.command(
            "plan", "bench.yaml", "--shards", str(shards), "--probe", "-o", "plan.json"
        )

    def shard(self, number: int, shards: int) -> Cost:
        return self.command(
            "run", "plan.json", "--shard", f"{number}/{shards}", "--display", "plain", "--no-html"
        )


def allocated(folder: Path, suffix: str = "") -> int:
    """Return the bytes that the files below a folder take on the disk."""
    files = (path for path in folder.rglob(f"*{suffix}") if path.is_file())
    return sum(path.stat().st_blocks * 512 for path in files)


def journal_bytes(directory: Path) -> int:
    """Return the bytes of a journal without free pages."""
    path = directory / ".crucible" / "journal.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * size)


def figures(jobs: int, shards: int) -> Iterator[tuple[str, str]]:
    """Yield the figures, each with its name."""
    scratch = scratch_folder()
    with running(output_bytes=1_000) as url:
        small = Place(url, scratch / "small", jobs)
        plan = small.plan(shards)
        yield (
            f"plan of {jobs:,} jobs: CPU",
            f"{1e6 * plan.cpu_s / jobs:.0f} µs a job, {plan.cpu_s:.1f} s",
        )
        size = (small.folder / "plan.json").stat().st_size
        yield "plan.json", f"{size / jobs:.0f} bytes a job"
        costs = [small.shard(number, shards) for number in range(1, shards + 1)]
        cpu = sum(cost.cpu_s for cost in costs)
        yield f"{shards} shards: CPU", f"{1000 * cpu / jobs:.2f} ms a job, starts included"
        folders = [path for path in (small.main / "shards").glob("*/*") if path.is_dir()]
        yield "journals of the shards", f"{sum(map(journal_bytes, folders)) / jobs:.0f} bytes a job"
        yield (
            "all files of the shards but their outputs",
            f"{_beside_outputs(folders) / jobs:.0f} bytes a job",
        )
        merged = small.command("merge", str(small.main), "--no-html")
        yield "merge: CPU", f"{1000 * merged.cpu_s / jobs:.2f} ms a job, {merged.cpu_s:.1f} s"
        yield "merge: wall", f"{1000 * merged.wall_s / jobs:.2f} ms a job"
        yield "merge: memory", f"{merged.peak_bytes / 1e6:.0f} MB"
        yield "journal of the merged run", f"{journal_bytes(small.main) / jobs:.0f} bytes a job"
        yield "report.json", f"{(small.main / 'report.json').stat().st_size / jobs:.0f} bytes a job"
        yield from _start_figures(url, scratch, jobs)


def _start_figures(url: str, scratch: Path, jobs: int) -> Iterator[tuple[str, str]]:
    """Compare the start of a shard of 10 jobs in a plan and in one that is ten times as long."""
    few, many = Place(url, scratch / "few", jobs), Place(url, scratch / "many", _FACTOR * jobs)
    few.plan(jobs // 10)
    plan = many.plan(_FACTOR * jobs // 10)
    name = f"plan of {_FACTOR * jobs:,} jobs in {_FACTOR * jobs // 10:,} shards"
    yield f"{name}: CPU", f"{1e6 * plan.cpu_s / jobs / _FACTOR:.0f} µs a job, {plan.cpu_s:.1f} s"
    yield f"{name}: memory", f"{plan.peak_bytes / 1e6:.0f} MB"
    one, other = few.shard(1, jobs // 10), many.shard(1, _FACTOR * jobs // 10)
    each = 1e6 * (other.cpu_s - one.cpu_s) / ((_FACTOR - 1) * jobs)
    yield (
        "a shard of 10 jobs: CPU",
        f"{one.cpu_s:.2f} s in the short plan, {other.cpu_s:.2f} s in the long one",
    )
    yield "a shard of 10 jobs: memory", f"{other.peak_bytes / 1e6:.0f} MB in the long plan"
    yield "reading the plan, at the start of each shard", f"{each:.0f} µs for each job of the plan"


def _beside_outputs(folders: list[Path]) -> int:
    return sum(allocated(path) - allocated(path, ".png") for path in folders)


def main(jobs: int, shards: int) -> None:
    print(
        f"{jobs:,} jobs in {shards} shards; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    found = {}
    for name, figure in figures(jobs, shards):
        found[name] = figure
        print(f"{name}: {figure}", flush=True)
    print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 2_000,
        int(sys.argv[2]) if len(sys.argv) > 2 else 4,
    )
