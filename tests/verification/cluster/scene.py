"""A scene of a cluster: a folder with a manifest, a sandbox, a database, workers and a coordinator in processes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import psycopg

from crucible_batch.cluster import ClusterAddress, QueuedShard
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.domain.shard_lease import LEASE_S
from tests.integration.cli.conftest import KEY, clean_environment
from tests.preloaded import COMMAND
from tests.verification.cluster.forks import Fork, command

PRICE = Decimal(2)
CANARY = "zanzibar-canary"
_LEVEL = {"reserve": 1, "upload": 1, "refund": -1, "rebate": -1, "consume": 0, "grant": 0}
_OPENER = build_opener(ProxyHandler({}))


@dataclass
class Process:
    """A process, and what it printed on stderr."""

    process: subprocess.Popen[bytes] | Fork
    err: Path
    out: Path

    @property
    def log(self) -> str:
        return self.err.read_text(encoding="utf-8")

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    async def says(self, text: str) -> None:
        """Wait until its log has a text. The suite's limit ends a hang."""
        while text not in self.log:
            assert self.process.poll() is None, self.log
            await asyncio.sleep(0.05)

    async def ended(self) -> int:
        while (code := self.process.poll()) is None:
            await asyncio.sleep(0.05)
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Scene:
    """``budget`` is the run's; ``dsn`` and ``gateway`` are addresses; ``lease_s`` is that of quick commands."""

    folder: Path
    dsn: str
    gateway: str
    budget: Decimal
    lease_s: float = LEASE_S
    processes: list[Process] = field(default_factory=list)

    @property
    def run_dir(self) -> Path:
        return self.folder / "outputs" / "spring" / "default"

    @property
    def report(self) -> dict[str, Any]:
        return dict(json.loads((self.run_dir / "report.json").read_text(encoding="utf-8")))

    def write(self, jobs: int, *, ceiling: str = "2", period: str = "") -> None:
        head = f"version: 1\nname: spring\nworkflow: zimage-base\nbudget: {{credits: {self.budget}{period}"
        job = f"{{name: fox, prompt: a {CANARY}, params: {{size.width: 64, size.height: 64}}, repeat: {jobs}}}"
        text = f"{head}, max_credits_per_job: {ceiling}}}\njobs:\n  - {job}\n"
        (self.folder / "spring.yaml").write_text(text, encoding="utf-8")

    def start(self, *command: str, **more: str) -> Process:
        """Start any program."""
        err, out = self._streams()
        with err.open("wb") as stderr, out.open("wb") as stdout:
            started = subprocess.Popen(command, cwd=self.folder, env=self._env(more), stderr=stderr, stdout=stdout)
        return self._started(Process(started, err, out))

    def quick(self, *words: str, **more: str) -> Process:
        """Start one of our commands, with leases of ``lease_s`` and short pauses."""
        err, out = self._streams()
        started = Fork(command, words, self.folder, self._env(more), self.lease_s, err=err, out=out)
        return self._started(Process(started, err, out))

    def _streams(self) -> tuple[Path, Path]:
        number = len(self.processes)
        return self.folder / f"err-{number}", self.folder / f"out-{number}"

    def _env(self, more: Mapping[str, str]) -> dict[str, str]:
        ours = {"MOLTAZINE_API_KEY": KEY, "CRUCIBLE_API_BASE": self.gateway, "CRUCIBLE_BATCH_DSN": self.dsn}
        return clean_environment(**{**ours, **more})

    def _started(self, process: Process) -> Process:
        self.processes.append(process)
        return process

    def worker(self, **environment: str) -> Process:
        return self.quick("worker", "--verbose", **environment)

    def installed_worker(self, *options: str, **environment: str) -> Process:
        return self.start(COMMAND, "worker", *options, **environment)

    def coordinator(self, *options: str, **environment: str) -> Process:
        return self.quick("run", "spring.yaml", "--cluster", "env", *options, **environment)

    def state(self) -> Any:
        """All that the gateway knows."""
        with _OPENER.open(self.gateway.partition("/api/")[0] + "/_sandbox/state") as answer:
            return json.loads(answer.read(), parse_float=Decimal)

    def bought(self) -> list[str]:
        """The job of each purchase, with its key."""
        return [job["idempotency_key"] for job in self.state()["jobs"]]

    def end_leases(self) -> None:
        """Make all leases as old as they become when their owners are dead. Frozen ones have clocks of their own."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for table in ("runs", "shards"):
                connection.execute(
                    f"UPDATE crucible_batch.{table} SET renewed_at = renewed_at - interval '1 h'".encode()
                )

    async def until_bought(self, count: int) -> None:
        while len(await asyncio.to_thread(self.bought)) < count:
            await asyncio.sleep(0.05)

    async def until_shards(self, is_so: Callable[[list[QueuedShard]], bool]) -> list[QueuedShard]:
        """Wait until the shards of the run are as described, by the database."""
        database = await ClusterDatabase.opened(ClusterAddress.parse(self.dsn), create=True)
        try:
            while not is_so(
                rows := [row for run in await database.runs() for row in await database.shards(run.run.run)]
            ):
                await asyncio.sleep(0.05)
            return rows
        finally:
            await database.close()

    def end_processes(self) -> None:
        """Kill what is still there, also what is frozen."""
        for each in self.processes:
            if each.process.poll() is None:
                each.send(signal.SIGCONT)
                each.kill()

    def check_ledger(self) -> None:
        """No row of the gateway's ledger is above the budget, and the report has the ledger's figures."""
        state, level = self.state(), Decimal(0)
        for row in state["ledger"]:
            level += _LEVEL[row["entry_type"]] * Decimal(row["amount"])
            assert level <= self.budget, row
        credits = self.report["credits"]
        assert Decimal(credits["spent"]) == Decimal(state["audit"]["spent_on_jobs"])
        assert Decimal(credits["held"]) == 0
        keys = [job["idempotency_key"] for job in state["jobs"]]
        assert len(keys) == len(set(keys))

    def check_all_done(self, jobs: int) -> None:
        """Each job was bought once, and has its output."""
        self.check_ledger()
        report = self.report
        assert report["counts"]["succeeded"] == jobs
        assert len(self.bought()) == jobs
        for job in report["jobs"]:
            assert [(self.run_dir / output["path"]).is_file() for output in job["outputs"]] == [True]


@contextmanager
def _sandbox(folder: Path, *options: str) -> Iterator[str]:
    """Start a gateway, and give the URL of its API."""
    out, err = folder / "sandbox-out", folder / "sandbox-err"
    process = Fork(command, ("sandbox", *options), folder, clean_environment(), out=out, err=err)
    try:
        while (text := out.read_text(encoding="utf-8")).count("\n") < 2:
            assert process.poll() is None, err.read_text(encoding="utf-8")
            time.sleep(0.02)
        yield text.splitlines()[1].removeprefix("export CRUCIBLE_API_BASE=")
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait()
    assert code == 0, err.read_text(encoding="utf-8")


@contextmanager
def playing(folder: Path, dsn: str, budget: int, *options: str) -> Iterator[Scene]:
    """Set a scene. All of its processes are ended afterwards."""
    with _sandbox(folder, *(options or ("--time-scale", "0.3"))) as url:
        scene = Scene(folder, dsn, url, Decimal(budget))
        try:
            yield scene
        finally:
            scene.end_processes()
