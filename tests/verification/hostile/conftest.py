"""A run against a hostile gateway, at a speed that tests can bear: waits pass fast, exchanges take
what they take.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.gateway import Retrier, RetryPolicy
from crucible_batch.journal.group_commit import GroupCommitWriter
from crucible_batch.runs import connecting, running
from crucible_batch.settings import Settings
from tests.harness.skipped_time import loops_for, write_in_no_time
from tests.verification.hostile.gateway import KEY, PICTURE, HostileGateway

SPEED = 500.0
MANIFEST = """\
version: 1
name: trial
workflow: w
budget: {credits: 10, max_credits_per_upload: 1}
retry: {attempts: 1}
provenance: {sidecar: true}
jobs:
  - {name: fox, prompt: a fox, image: in.png}
"""


def pytest_asyncio_loop_factories(item: pytest.Item) -> object:
    """Runs within a test skip the time in which all wait: no exchange is late on a busy machine."""
    return loops_for(item, "run")


class FastClock:
    """The clock of the test's event loop, sped up."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() * SPEED

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)


Run = Callable[..., Awaitable[api.RunResult]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the one-job manifest against a gateway; ``timeout_s`` is that of an exchange."""
    clock = FastClock()
    monkeypatch.setattr(running, "SystemClock", lambda: clock)
    monkeypatch.setattr(GroupCommitWriter, "write", write_in_no_time)
    open_gateway = connecting.open_gateway
    timeouts = {"timeout_s": 10.0}

    def opened(*args: Any, retry: Retrier, **options: Any) -> Any:
        retry.policy = RetryPolicy(attempts=2)
        return open_gateway(*args, retry=retry, **timeouts, **options)

    monkeypatch.setattr(connecting, "open_gateway", opened)
    (tmp_path / "in.png").write_bytes(PICTURE)
    (tmp_path / "m.yaml").write_text(MANIFEST)

    async def run(
        gateway: HostileGateway, *, timeout_s: float = 10.0, **options: Any
    ) -> api.RunResult:
        timeouts["timeout_s"] = timeout_s
        settings = Settings(api_key=KEY, base_url=gateway.url)
        async with asyncio.timeout(60):
            return await api.run(
                tmp_path / "m.yaml",
                out_dir=tmp_path / "out",
                settings=settings,
                job_timeout_s=30,
                **{"html": False, **options},
            )

    return run


@pytest.fixture(autouse=True)
def _collect_between_tests() -> Iterator[None]:
    """As in the engine's tests: what a cancelled connection left open must not be collected within
    a run.
    """
    gc.disable()
    yield
    gc.enable()
    gc.collect()
