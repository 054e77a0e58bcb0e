"""The demo of a cluster: three workers on this machine, one of which is killed, and what the gateway's ledger shows."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import IO, Any, Final
from urllib.request import ProxyHandler, build_opener

from crucible_batch.api import (
    DSN_VARIABLE,
    ClusterAddress,
    RunRequest,
    ShardState,
    cluster_status,
    format_credits,
)
from crucible_batch.api.cluster.run import run_on_cluster
from crucible_batch.cli.command_output import CommandOutput, Terminated
from crucible_batch.cli.ending import FinishedRun
from crucible_batch.cli.options import DisplayMode
from crucible_batch.cli.run_session import RunOnScreen, showing
from crucible_batch.cli.temporary_postgres import temporary_postgres
from crucible_batch.cli.terminal import Json, fact, say, say_sentence
from crucible_batch.errors import ClusterSetupError, ClusterUnreachableError, ExitCode
from crucible_batch.sandbox import Running, SandboxConfig, serve
from crucible_batch.settings import Settings

WORKERS: Final = 3
SHARDS: Final = 6
_SANDBOX = SandboxConfig(runners=6, time_scale=3.0)
"""Slow enough that a worker is killed while it has jobs in flight."""
_POLL_S = 0.2
_SIGNS = {"reserve": 1, "upload": 1, "refund": -1, "rebate": -1}


@dataclass(frozen=True, slots=True)
class Killed:
    """The worker that was killed, and its shard by number."""

    pid: int
    shard: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What the gateway's ledger shows: each job's charges, and the most that was charged at any time."""

    jobs: int
    keys: int
    charged_twice: int
    peak: Decimal
    total: Decimal

    @classmethod
    def of(cls, state: Any) -> Proof:
        level = peak = Decimal(0)
        charges: Counter[str] = Counter()
        for row in state["ledger"]:
            sign = _SIGNS.get(row["entry_type"], 0)
            level += sign * Decimal(row["amount"])
            peak = max(peak, level)
            if row["job_id"] is not None:
                charges[row["job_id"]] += sign
        keys = {job["idempotency_key"] for job in state["jobs"]}
        charged_twice = sum(count > 1 for count in charges.values())
        return cls(len(state["jobs"]), len(keys), charged_twice, peak, level)

    def holds_for(self, jobs: int, spent: Decimal, budget: Decimal) -> bool:
        """Whether each of so many jobs was charged once, as reported, and the budget was never exceeded."""
        once = self.jobs == self.keys == jobs and not self.charged_twice
        return once and self.total == spent and self.peak <= budget


@dataclass(frozen=True, slots=True)
class PlayedCluster:
    """The run of the demo, the worker that was killed, if any was, and the ledger."""

    ran: FinishedRun
    killed: Killed | None
    proof: Proof


def play_cluster(output: CommandOutput, request: RunRequest) -> PlayedCluster:
    """Run a request on a cluster that is made for it and deleted afterwards.

    Raises ``ClusterSetupError`` without PostgreSQL or the extra, and if the workers don't start.
    """
    ClusterAddress.parse("host=localhost")  # the drivers are there
    if not output.quiet:
        say_sentence(output.err, ("Starting PostgreSQL and three workers; no data leaves this machine.", "quiet"))
    with temporary_postgres() as dsn:
        try:
            with showing(output, request, DisplayMode.AUTO) as shown:
                return asyncio.run(_played(output, request, dsn, shown))
        except asyncio.CancelledError:
            raise Terminated(int(ExitCode.SIGTERM)) from None


async def _played(output: CommandOutput, request: RunRequest, dsn: str, shown: RunOnScreen) -> PlayedCluster:
    if (task := asyncio.current_task()) is not None:  # as for Ctrl-C: all that was started is ended first
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with serve(_SANDBOX) as gateway:
        settings = Settings(api_key=gateway.api_key, base_url=gateway.api_url, key_source="the sandbox")
        with _workers(gateway, dsn) as workers:
            playing = asyncio.ensure_future(_kill_one(output, dsn, workers))
            address = ClusterAddress.parse(dsn)
            running = asyncio.ensure_future(run_on_cluster(request, address, settings=settings, observer=shown))
            try:
                await asyncio.wait({playing, running}, return_when=asyncio.FIRST_COMPLETED)
                if playing.done() and not running.done():
                    playing.result()  # raises what prevents the workers from starting
                result = await running
            finally:
                for task in (playing, running):
                    task.cancel()
                await asyncio.wait({playing, running})
        killed = None if playing.cancelled() else playing.result()
        state = await asyncio.to_thread(_state_of, gateway)
        return PlayedCluster(shown.finished(result), killed, Proof.of(state))


@dataclass(frozen=True, slots=True)
class _Workers:
    by_pid: dict[int, subprocess.Popen[bytes]]
    log: IO[bytes]

    def check(self) -> None:
        """Raise ``ClusterSetupError`` if all of them have ended."""
        if all(worker.poll() is not None for worker in self.by_pid.values()):
            self.log.seek(0)
            lines = self.log.read().decode(errors="replace").strip().splitlines() or ["they give no reason"]
            raise ClusterSetupError(f"the workers don't start: {lines[-1][:300]}", hint="crucible-batch worker --help")


@contextmanager
def _workers(gateway: Running, dsn: str) -> Iterator[_Workers]:
    """Start the workers. They are killed at the end: their shards are merged by then, or of no use."""
    ours = {"MOLTAZINE_API_KEY": gateway.api_key, "CRUCIBLE_API_BASE": gateway.api_url, DSN_VARIABLE: dsn}
    command = [sys.executable, "-m", "crucible_batch", "worker"]
    with tempfile.TemporaryFile() as log:
        workers = _Workers({}, log)
        try:
            for _ in range(WORKERS):
                # In a session of its own, so that a Ctrl-C of the terminal ends the demo only, which ends the worker.
                worker = subprocess.Popen(  # noqa: S603 - this program
                    command,
                    env={**os.environ, **ours},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                workers.by_pid[worker.pid] = worker
            yield workers
        finally:
            for worker in workers.by_pid.values():
                worker.kill()
                worker.wait()


async def _kill_one(output: CommandOutput, dsn: str, workers: _Workers) -> Killed:
    """Kill a worker that has jobs in flight, and return which it was. Raises ``ClusterSetupError`` if none starts."""
    while True:
        await asyncio.sleep(_POLL_S)
        workers.check()
        try:
            status = (await cluster_status(dsn)).status
        except (ClusterSetupError, ClusterUnreachableError):
            continue  # its tables are not created yet
        pids = {row.worker: int(row.name.rpartition(":")[2]) for row in status.workers}
        for shard in status.shards:
            pid = pids.get(shard.worker or "")
            if shard.state is ShardState.RUNNING and shard.figures.held > 0 and pid in workers.by_pid:
                workers.by_pid[pid].kill()
                if not output.quiet:
                    say(output.err, ("killed   ", "warn"), f"worker {pid}, which had shard {shard.key.number} of"
                        f" {SHARDS}; another worker takes it over after 15 seconds")  # fmt: skip
                return Killed(pid, shard.key.number)


def _state_of(gateway: Running) -> Any:
    url = f"{gateway.api_url.partition('/api/')[0]}/_sandbox/state"
    with build_opener(ProxyHandler({})).open(url) as reply:
        return json.loads(reply.read(), parse_float=Decimal)


def show_proof(output: CommandOutput, played: PlayedCluster) -> bool:
    head, proof, killed = played.ran.result.report, played.proof, played.killed
    spent, budget = Decimal(head.credits.spent), Decimal(head.credits.budget or 0)
    holds = proof.holds_for(head.counts.total, spent, budget)
    data: dict[str, Json] = {
        "jobs_charged": proof.jobs,
        "charged_twice": proof.charged_twice,
        "charged": format_credits(proof.total),
        "highest": format_credits(proof.peak),
        "holds": holds,
        "killed": None if killed is None else {"worker": killed.pid, "shard": killed.shard},
    }
    output.data = {**(output.data if isinstance(output.data, dict) else {}), "cluster": data}
    if output.quiet:
        return holds
    if killed is not None:
        found = played.ran.result.run_dir.glob(f"shards/*/{killed.shard}-of-{SHARDS}.e*")
        folders = " and ".join(sorted(path.name for path in found))
        fact(output.out, "killed", f"worker {killed.pid}; its shard was run in {folders}")
    style = "good" if holds else "bad"
    fact(
        output.out,
        "ledger",
        (f"{proof.jobs} jobs charged, {proof.charged_twice or 'none'} twice", style),
        f" · {format_credits(proof.total)} credits in total, at most {format_credits(proof.peak)} of"
        f" {format_credits(budget)} at any time",
    )
    return holds
