"""A run against a hostile gateway, at a speed that tests can bear: waits pass fast, exchanges take what they take."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crucible_batch import api
from crucible_batch.api import connecting, running
from crucible_batch.gateway import Retrier, RetryPolicy
from crucible_batch.settings import Settings
from tests.verification.hostile.gateway import KEY, PICTURE, HostileGateway

SPEED = 500.0
MANIFEST = """\
version: 1
name: trial
workflow: w
budget: {credits: 10, max_credits_per_upload: 1}
retry: {attempts: 1}
jobs:
  - {name: fox, prompt: a fox, image: in.png}
"""


class FastClock:
    """The machine's clock, sped up."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic() * SPEED

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)


Run = Callable[..., Awaitable[api.RunResult]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the one-job manifest against a gateway; ``timeout_s`` is that of an exchange."""
    clock = FastClock()
    monkeypatch.setattr(running, "SystemClock", lambda: clock)
    open_gateway = connecting.open_gateway
    timeouts = {"timeout_s": 10.0}

    def opened(*args: Any, on_retry: Any, **options: Any) -> Any:
        retrier = Retrier(RetryPolicy(attempts=2), on_retry=on_retry, sleep=clock.sleep, clock=clock.monotonic)
        return open_gateway(*args, retry=retrier, **timeouts, **options)

    monkeypatch.setattr(connecting, "open_gateway", opened)
    (tmp_path / "in.png").write_bytes(PICTURE)
    (tmp_path / "m.yaml").write_text(MANIFEST)

    async def run(gateway: HostileGateway, *, timeout_s: float = 10.0, **options: Any) -> api.RunResult:
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
    """As in the engine's tests: what a cancelled connection left open must not be collected within a run."""
    gc.disable()
    yield
    gc.enable()
    gc.collect()
