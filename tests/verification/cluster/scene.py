"""A scene of a cluster: a folder with a manifest, a sandbox, a database, workers and a coordinator in processes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from crucible_batch.cluster import ClusterAddress, QueuedShard
from crucible_batch.cluster.database import ClusterDatabase
from tests.integration.cli.conftest import KEY, clean_environment, running_sandbox
from tests.preloaded import COMMAND

PRICE = Decimal(2)
CANARY = "zanzibar-canary"
_ROOT = Path(__file__).parents[3]
_LEVEL = {"reserve": 1, "upload": 1, "refund": -1, "rebate": -1, "consume": 0, "grant": 0}
_OPENER = build_opener(ProxyHandler({}))


@dataclass
class Process:
    """A process, and what it printed on stderr."""

    process: subprocess.Popen[bytes]
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
        while self.process.poll() is None:
            await asyncio.sleep(0.05)
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Scene:
    """``budget`` is the run's; ``dsn`` and ``gateway`` are addresses."""

    folder: Path
    dsn: str
    gateway: str
    budget: Decimal
    processes: list[Process] = field(default_factory=list)

    @property
    def run_dir(self) -> Path:
        return self.folder / "outputs" / "spring" / "default"

    @property
    def report(self) -> dict[str, Any]:
        return dict(json.loads((self.run_dir / "report.json").read_text(encoding="utf-8")))

    def write(self, jobs: int, *, ceiling: str = "2", period: str = "") -> None:
        head = f"version: 1\nname: spring\nworkflow: zimage-base\nbudget: {{credits: {self.budget}{period}"
        text = (
            f"{head}, max_credits_per_job: {ceiling}}}\njobs:\n  - {{name: fox, prompt: a {CANARY}, repeat: {jobs}}}\n"
        )
        (self.folder / "spring.yaml").write_text(text, encoding="utf-8")

    def _start(self, *command: str, **more: str) -> Process:
        number = len(self.processes)
        err, out = self.folder / f"err-{number}", self.folder / f"out-{number}"
        ours = {"MOLTAZINE_API_KEY": KEY, "CRUCIBLE_API_BASE": self.gateway, "CRUCIBLE_BATCH_DSN": self.dsn}
        environment = clean_environment(**{**ours, "PYTHONPATH": str(_ROOT), **more})
        with err.open("wb") as stderr, out.open("wb") as stdout:
            started = subprocess.Popen(command, cwd=self.folder, env=environment, stderr=stderr, stdout=stdout)
        self.processes.append(Process(started, err, out))
        return self.processes[-1]

    def worker(self, **environment: str) -> Process:
        return self._start(sys.executable, "-m", "tests.verification.cluster.real_worker", **environment)

    def installed_worker(self, *options: str, **environment: str) -> Process:
        return self._start(COMMAND, "worker", *options, **environment)

    def coordinator(self, *options: str, **environment: str) -> Process:
        return self._start(COMMAND, "run", "spring.yaml", "--cluster", "env", *options, **environment)

    def state(self) -> Any:
        """All that the gateway knows."""
        with _OPENER.open(self.gateway.partition("/api/")[0] + "/_sandbox/state") as answer:
            return json.loads(answer.read(), parse_float=Decimal)

    def bought(self) -> list[str]:
        """The job of each purchase, with its key."""
        return [job["idempotency_key"] for job in self.state()["jobs"]]

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
def playing(folder: Path, dsn: str, budget: int, *options: str) -> Iterator[Scene]:
    """Set a scene. All of its processes are ended afterwards."""
    with running_sandbox(*(options or ("--time-scale", "0.3"))) as url:
        scene = Scene(folder, dsn, url, Decimal(budget))
        try:
            yield scene
        finally:
            for each in scene.processes:
                if each.process.poll() is None:
                    each.send(signal.SIGCONT)
                    each.kill()
