"""Memory: what a run of many jobs peaks at beside one of few, each in a process of its own.

The gateway is one within the process that answers at once, behind the engine's own port, so that
what is measured is the engine with its journal, the files it writes and the report: ``python -m
benchmarks.memory JOBS`` runs that many jobs, 64 at a time, and prints what the process peaked at.
The figures are the kernel's (``VmHWM`` where there is one).
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import NoReturn

from PIL import Image

from benchmarks import manifest
from benchmarks.process import peak_mb
from benchmarks.row import Row
from crucible_batch.cli.startup import share_one_heap
from crucible_batch.core.gateway_types import (
    Account,
    JobSnapshot,
    JobStatus,
    OutputLink,
    Submission,
)
from crucible_batch.core.plan import PlannedJob, RunTerms
from crucible_batch.core.ports import BeforeRetry, BeforeSend, Gateway
from crucible_batch.core.progress import Observer
from crucible_batch.engine import EngineOptions, Runner, RunnerPorts, SystemClock
from crucible_batch.features import load
from crucible_batch.journal import Binding, Journal, PlanFile
from crucible_batch.outputs import OutputStore, Receipts
from crucible_batch.pace.polls import ServiceTimes
from crucible_batch.runs.observers import Observers
from crucible_batch.runs.reporting import write_report_of


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(buffer, "PNG")
    return buffer.getvalue()


IN_FLIGHT = 64
BOUND_MB = 160.0
PLANNING_BOUND_MB = 60.0
MOST_GROWTH = 1.1
_QUICK, _WHOLE = (1_000, 10_000), (10_000, 50_000)
_QUICK_PLANNED, _WHOLE_PLANNED = (1_000, 100_000), (10_000, 1_000_000)
_WHY_PLANNING = (
    "the growth is that of SQLite's caches, "
    "which are limited to 2 MB for each table of unique values and for the plan"
)
_WHY_RUNNING = (
    "the growth is that of SQLite's caches and of memory kept by the allocator in one heap, "
    "which are both limited"
)
_COMMAND = "python -m benchmarks.memory"
_PICTURE = _picture()
_CREDITS = Decimal(1)


class InstantGateway(Gateway):
    """Takes every job, and has it done by the first look. Keeps nothing: an id is its key."""

    async def submit(
        self,
        workflow_id: str,
        params: Mapping[str, object],
        *,
        key: str,
        before_send: BeforeSend | None = None,
        before_retry: BeforeRetry | None = None,
    ) -> Submission:
        if before_send is not None:
            before_send()
        return Submission(key, _CREDITS, existing=False)

    async def job(self, job_id: str, **_before_retry: object) -> JobSnapshot:
        return JobSnapshot(
            job_id, JobStatus.SUCCEEDED, _CREDITS, outputs=(OutputLink(0, "memory:"),)
        )

    async def account(self) -> Account:
        return Account(Decimal(10**9), Decimal(0), Decimal(10**9))

    async def assets(self) -> Sequence[NoReturn]:
        return ()

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[tuple[int | None, AsyncIterator[bytes]]]:
        yield len(_PICTURE), self._body()

    async def _body(self) -> AsyncIterator[bytes]:
        yield _PICTURE


class ImpatientClock(SystemClock):
    """Waits for nobody: a look at a job comes as soon as the others have had their turn."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


def planned(count: int) -> Iterator[PlannedJob]:
    """Yield so many jobs, each with a prompt of its own.

    A thousand share a folder, as files on a disk should.
    """
    for number in range(count):
        prompt = f"A portrait of lighthouse {number}, in the manner of an engraving"
        yield PlannedJob(
            position=number,
            identity=hashlib.sha256(prompt.encode()).hexdigest(),
            name=f"lighthouse-{number}",
            workflow_id="zimage-base",
            params={"prompt.text": prompt, "size.width": 1024, "sampler.seed": number},
            prompt=prompt,
            output=f"{number // 1000}/lighthouse-{number}-{{index}}{{ext}}",
        )


def terms() -> RunTerms:
    return RunTerms(
        manifest_name="memory",
        manifest_path="memory.yaml",
        manifest_sha256="0" * 64,
        run_id="default",
        budget=Decimal(10**8),
        ceiling=None,
        attempts=3,
        never=frozenset(),
        sidecars=False,
    )


def run(
    directory: Path, jobs: int, *, in_flight: int = IN_FLIGHT, observer: Observer | None = None
) -> float:
    """Plan, run and report so many jobs, as the command does.

    Returns what the write-ahead log grew to, in MB.
    """
    clock = ImpatientClock()
    with (
        PlanFile.temporary() as plan,
        Journal.open(directory, Binding("m", "r", "g"), now=clock.now()) as journal,
    ):
        plan.fill(planned(jobs))
        journal.adopt(plan)
        store = OutputStore(directory)
        store.sweep()
        observers = Observers(observer)
        paid_prices = load("prices.part:PaidPrices")
        if paid_prices is not None:
            observers.add(paid_prices("memory"))
        ports = RunnerPorts(
            gateway=InstantGateway(),
            history=journal,
            store=store,
            receipts=Receipts(directory),
            clock=clock,
            observer=observers,
            nonce=lambda: "",
        )
        runner = Runner(
            ports=ports,
            terms=terms(),
            times=ServiceTimes(),
            options=EngineOptions(concurrency=in_flight),
        )
        number = journal.begin_run(terms(), now=clock.now())
        ending = asyncio.run(runner.run())
        journal.end_run(number, ending, now=clock.now())
        head = write_report_of(journal, directory)
        log_mb = journal.path.with_name(f"{journal.path.name}-wal").stat().st_size / 2**20
    if head.counts.succeeded != jobs:
        raise RuntimeError(f"only {head.counts.succeeded} of {jobs} jobs succeeded")
    return log_mb


def measured(jobs: int, *, rounds: int = 1) -> Mapping[str, float]:
    """Have a process of its own run so many jobs, ``rounds`` times in the same directory; return
    what it says."""
    command = [sys.executable, "-m", "benchmarks.memory", str(jobs), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: Mapping[str, float] = json.loads(done.stdout)
    return found


def rows(quick: bool) -> Iterator[Row]:
    """Plan few and many jobs, and run few and many, the few first."""
    yield from _planning(*(_QUICK_PLANNED if quick else _WHOLE_PLANNED))
    yield from _running(*(_QUICK if quick else _WHOLE))


def _planning(least: int, most: int) -> Iterator[Row]:
    few, many = (manifest.planned(rows).peak_bytes / 1e6 for rows in (least, most))
    note = f"{many:.0f} MB beside {few:.0f}; rows of CSV, each a job"
    ratio = many / few
    yield Row(
        f"memory of planning {most:,} jobs beside {least:,}", f"≤ {MOST_GROWTH}×", f"{ratio:.2f}×",
        ratio <= MOST_GROWTH, note, _WHY_PLANNING,
    )  # fmt: skip
    yield Row(
        f"memory of planning {most:,} jobs", f"< {PLANNING_BOUND_MB:.0f} MB", f"{many:.0f} MB",
        many < PLANNING_BOUND_MB,
        "the complete process of the command, including imports", _WHY_PLANNING,
    )  # fmt: skip


def _running(least: int, most: int) -> Iterator[Row]:
    peaks = {jobs: measured(jobs) for jobs in (least, most)}
    ratio = peaks[most]["peak_mb"] / peaks[least]["peak_mb"]
    each = ", ".join(
        (
            f"{jobs:,} jobs {found['peak_mb']:.0f} MB in {found['wall_s']:.0f} s "
            f"({found['cpu_ms']:.2f} ms CPU a job)"
        )
        for jobs, found in peaks.items()
    )
    yield Row(
        f"memory of running {most:,} jobs beside {least:,}", f"≤ {MOST_GROWTH}×", f"{ratio:.2f}×",
        ratio <= MOST_GROWTH,
        f"{each}; a million takes half an hour: {_COMMAND} 1000000", _WHY_RUNNING,
    )  # fmt: skip
    peak = max(found["peak_mb"] for found in peaks.values())
    bound = f"< {BOUND_MB:.0f} MB"
    yield Row(
        f"memory of running, {IN_FLIGHT} in flight",
        bound,
        f"{peak:.0f} MB",
        peak < BOUND_MB,
        "",
        _WHY_RUNNING,
    )


def main(jobs: int, rounds: int) -> None:
    share_one_heap()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        log_mb = max(run(Path(folder), jobs) for _ in range(rounds))
        usage = resource.getrusage(resource.RUSAGE_SELF)
        found = {
            "peak_mb": peak_mb(),
            "log_mb": log_mb,
            "wall_s": time.perf_counter() - began,
            "cpu_ms": 1000 * (usage.ru_utime + usage.ru_stime) / jobs,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
