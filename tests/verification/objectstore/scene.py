"""A scene of shards: a folder with a manifest, a sandbox, and commands in processes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from tests.harness.commands import KEY, clean_environment
from tests.harness.sandbox_audit import with_audit

PRICE = Decimal(2)
CANARY = "zanzibar-canary"
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

    async def ended(self) -> int:
        while (code := self.process.poll()) is None:
            await asyncio.sleep(0.05)
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Scene:
    """``budget`` is the run's; ``gateway`` is its address."""

    folder: Path
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
        head = (
            "version: 1\nname: spring\nworkflow: zimage-base\n"
            f"budget: {{credits: {self.budget}{period}"
        )
        job = (
            f"{{name: fox, prompt: a {CANARY}, "
            f"params: {{size.width: 64, size.height: 64}}, repeat: {jobs}}}"
        )
        text = f"{head}, max_credits_per_job: {ceiling}}}\njobs:\n  - {job}\n"
        (self.folder / "spring.yaml").write_text(text, encoding="utf-8")

    def start(self, *command: str, **more: str) -> Process:
        """Start any program."""
        err, out = self._streams()
        with err.open("wb") as stderr, out.open("wb") as stdout:
            started = subprocess.Popen(
                command, cwd=self.folder, env=self._env(more), stderr=stderr, stdout=stdout
            )
        return self._started(Process(started, err, out))

    def _streams(self) -> tuple[Path, Path]:
        number = len(self.processes)
        return self.folder / f"err-{number}", self.folder / f"out-{number}"

    def _env(self, more: Mapping[str, str]) -> dict[str, str]:
        ours = {"MOLTAZINE_API_KEY": KEY, "CRUCIBLE_API_BASE": self.gateway}
        return clean_environment(**{**ours, **more})

    def _started(self, process: Process) -> Process:
        self.processes.append(process)
        return process

    def state(self) -> Any:
        """All that the gateway knows."""
        with _OPENER.open(self.gateway.partition("/api/")[0] + "/_sandbox/state") as answer:
            return with_audit(json.loads(answer.read(), parse_float=Decimal))

    def bought(self) -> list[str]:
        """The job of each purchase, with its key."""
        return [job["idempotency_key"] for job in self.state()["jobs"]]

    async def until_bought(self, count: int) -> None:
        while len(await asyncio.to_thread(self.bought)) < count:
            await asyncio.sleep(0.05)

    def end_processes(self) -> None:
        """Kill what is still there, also what is frozen."""
        for each in self.processes:
            if each.process.poll() is None:
                each.send(signal.SIGCONT)
                each.kill()

    def check_ledger(self) -> None:
        """No row of the gateway's ledger is above the budget, and the report has the ledger's
        figures."""
        state, level = self.state(), Decimal(0)
        for row in state["ledger"]:
            level += _LEVEL[row["entry_type"]] * Decimal(row["amount"])
            assert level <= self.budget, row
        credits = self.report["credits"]
        assert Decimal(credits["spent"]) == Decimal(state["audit"]["spent_on_jobs"])
        assert Decimal(credits["held"]) == 0
        keys = [job["idempotency_key"] for job in state["jobs"]]
        assert len(keys) == len(set(keys))
