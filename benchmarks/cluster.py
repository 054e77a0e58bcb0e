"""Clusters: workers in processes, beside one machine's run of the same manifest, and what PostgreSQL does for them.

Requires PostgreSQL, which is started here without fsync. All processes share the machine with the gateway and the
database, so that only jobs that take a while can gain from more workers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg

from benchmarks.gateway import KEY, WORKFLOW, running
from benchmarks.process import Cost, emptied, interleaved, median, median_ratio, run, scratch_folder
from benchmarks.row import Row
from tests.verification.cluster.postgres import PostgresServer, running_server

SERVICE_S, WAITING_IN_FLIGHT, BUSY_IN_FLIGHT = 4.0, 8, 64
_COMMAND = (sys.executable, "-m", "crucible_batch")
_WHY_SLOWER = (
    "the run is divided, queued and merged in addition: one job is bought first for its price, the plan is written and"
    " read by each shard, the coordinator looks every second whether the shards have ended, each shard waits two"
    " seconds at its end for late outputs, and the merge writes every job's events once more"
)
_WHY_CPU = (
    "all workers, the gateway and the database share two cores, which one run with 64 jobs in flight uses already; the"
    " plan, the starts of the shards and the merge are added"
)


@dataclass(frozen=True, slots=True)
class Load:
    """What PostgreSQL did for a run: committed transactions, rows of shards and tasks, and bytes of all tables."""

    transactions: int
    rows: int
    byte_size: int


@dataclass(frozen=True, slots=True)
class Site:
    """A gateway, a database server, and a folder for what is written."""

    url: str
    server: PostgresServer
    scratch: Path


def write_manifest(folder: Path, jobs: int, in_flight: int) -> Path:
    """Write a manifest of so many jobs, with a budget."""
    path = folder / "bench.yaml"
    wanted = [{"name": f"j{number}", "prompt": f"lighthouse {number}"} for number in range(jobs)]
    budget = {"credits": 10_000_000, "max_credits_per_job": 1}
    head = {"version": 1, "name": "bench", "workflow": WORKFLOW, "concurrency": in_flight, "budget": budget}
    path.write_text(json.dumps({**head, "jobs": wanted}))
    return path


def environment_of(url: str, dsn: str = "") -> dict[str, str]:
    return {"MOLTAZINE_API_KEY": KEY, "CRUCIBLE_API_BASE": url, **({"CRUCIBLE_BATCH_DSN": dsn} if dsn else {})}


def _options(folder: Path) -> list[str | Path]:
    return ["--out-dir", folder / "out", "--run-id", folder.name, "--display", "plain", "--no-html"]


def one_machine(site: Site, jobs: int, in_flight: int) -> Cost:
    """Run the manifest on one machine."""
    folder = Path(tempfile.mkdtemp(dir=site.scratch))
    manifest = write_manifest(folder, jobs, in_flight)
    cost = run([*_COMMAND, "run", manifest, *_options(folder)], folder=folder, environment=environment_of(site.url))
    emptied(folder / "out", "*/*.png", jobs)
    return cost


def cluster(site: Site, jobs: int, in_flight: int, workers: int, loads: list[Load]) -> Cost:
    """Run it on workers that are ready. The cost is the coordinator's, from its start to its end."""
    folder = Path(tempfile.mkdtemp(dir=site.scratch))
    manifest = write_manifest(folder, jobs, in_flight)
    dsn = site.server.dsn(site.server.create_database())
    environment = environment_of(site.url, dsn)
    with working(workers, folder, environment):
        before = transactions(dsn)
        command: Sequence[str | Path] = [
            *_COMMAND, "run", manifest, *_options(folder), "--cluster", "env", "--shards", str(2 * workers),
        ]  # fmt: skip
        cost = run(command, folder=folder, environment=environment)
        loads.append(measured_load(dsn, before))
    emptied(folder / "out", "*/*.png", jobs)
    return cost


@contextmanager
def working(count: int, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Have so many workers, each in a process, that wait for shards."""
    logs = [folder / f"worker-{number}.log" for number in range(count)]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for log in logs:
            with log.open("wb") as said:
                processes.append(
                    subprocess.Popen(
                        [*_COMMAND, "worker"], cwd=folder, stdout=said, stderr=said, env={**os.environ, **environment}
                    )
                )
        for log, process in zip(logs, processes, strict=True):
            while "waits for shards" not in log.read_text(errors="replace"):
                if process.poll() is not None:
                    raise RuntimeError(log.read_text(errors="replace"))
                time.sleep(0.05)
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait()


def transactions(dsn: str) -> int:
    """Return the transactions that the database has committed. Sessions tell it at most once a second."""
    time.sleep(1.5)
    with psycopg.connect(dsn, autocommit=True) as connection:
        found = connection.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
        return int(found.fetchall()[0][0])


def measured_load(dsn: str, before: int) -> Load:
    """Return what the database did since it had committed ``before`` transactions."""
    after = transactions(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        shards, tasks = connection.execute(
            "SELECT (SELECT count(*) FROM crucible_batch.shards),"
            " (SELECT count(*) FROM crucible_batch.procrastinate_jobs)"
        ).fetchall()[0]
        size = connection.execute(
            "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname = 'crucible_batch' AND relkind = 'r'"
        ).fetchall()[0][0]
    return Load(after - before, int(shards) + int(tasks), int(size))


def waiting_workers(site: Site, workers: int, seconds: float) -> tuple[float, float]:
    """Return the transactions a second, and the connections, of a worker that waits for shards."""
    folder = Path(tempfile.mkdtemp(dir=site.scratch))
    dsn = site.server.dsn(site.server.create_database())
    with working(workers, folder, environment_of(site.url, dsn)):
        before, began = transactions(dsn), time.monotonic()
        time.sleep(seconds)
        after, ended = transactions(dsn), time.monotonic()
        with psycopg.connect(dsn) as connection:
            found = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connections = int(found.fetchall()[0][0])
    return (after - before) / (ended - began) / workers, connections / workers


def _beside(
    site: Site, what: str, jobs: int, in_flight: int, goals: dict[int, float], rounds: int, why: str
) -> Iterator[Row]:
    loads: dict[int, list[Load]] = {workers: [] for workers in goals}
    costs = interleaved(
        {
            0: partial(one_machine, site, jobs, in_flight),
            **{workers: partial(cluster, site, jobs, in_flight, workers, loads[workers]) for workers in goals},
        },
        rounds,
    )
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    floor = [jobs / cost.wall_s for cost in costs[0]]
    for workers, goal in goals.items():
        pace = [jobs / cost.wall_s for cost in costs[workers]]
        ratio = median_ratio(pace, floor)
        name = f"cluster of {workers} worker{'s' if workers > 1 else ''}, {what}, beside one machine's run: jobs/s"
        note = f"{median(pace):.1f} jobs/s beside {median(floor):.1f}; {jobs} jobs, {rounds} rounds; {load}"
        yield Row(name, f"≥ {goal:.1f}×", f"{ratio:.2f}×", ratio >= goal, note, why)
    yield _database_row(what, jobs, max(goals), loads[max(goals)], costs[max(goals)])


def _database_row(what: str, jobs: int, workers: int, loads: Sequence[Load], costs: Sequence[Cost]) -> Row:
    """Return how often the database is used. ``transactions`` waits, which counts."""
    seconds = [cost.wall_s + 1.5 for cost in costs]
    rate = median(load.transactions / each / workers for load, each in zip(loads, seconds, strict=True))
    each = median(load.transactions / jobs for load in loads)
    note = (
        f"{workers} workers and a coordinator; {each:.1f} a job, by the length of the run and not by its jobs;"
        f" {loads[-1].rows} rows of shards and tasks, {loads[-1].byte_size / 1000:.0f} KB of tables and indexes"
    )
    return Row(
        f"cluster, {what}: PostgreSQL's transactions a second and worker", "≤ 4", f"{rate:.1f}", rate <= 4, note,
        "the coordinator's are divided among the workers",
    )  # fmt: skip


def rows(quick: bool) -> Iterator[Row]:
    """Measure jobs that take some seconds each, then jobs that take none."""
    rounds = 1 if quick else 3
    with running_server() as server:
        scratch = scratch_folder()
        with running(output_bytes=50_000, service_s=SERVICE_S) as url:
            site = Site(url, server, scratch)
            goals = {1: 0.6, 2: 1.2, 4: 2.0}
            jobs = 96 if quick else 240
            yield from _beside(site, f"jobs of {SERVICE_S:.0f} s", jobs, WAITING_IN_FLIGHT, goals, rounds, _WHY_SLOWER)
            rate, connections = waiting_workers(site, 4, 10.0 if quick else 30.0)
            yield Row("cluster: transactions a second of a worker that waits", "≤ 3", f"{rate:.1f}", rate <= 3)
            yield Row("cluster: connections of a worker that waits", "≤ 4", f"{connections:.1f}", connections <= 4)
        with running(output_bytes=50_000) as url:
            site = Site(url, server, scratch)
            jobs = 200 if quick else 2_000
            yield from _beside(site, "jobs of no time", jobs, BUSY_IN_FLIGHT, {2: 0.8}, rounds, _WHY_CPU)


if __name__ == "__main__":
    print(*rows("--quick" in sys.argv), sep="\n")
