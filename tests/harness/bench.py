"""A bench for whole runs: the product's own ``run`` against a sandbox whose time passes two hundred
times as fast.

The judge is the sandbox's own ledger, read over HTTP: it knows nothing of what the product
believes.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import io
import itertools
import json
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn.server
from PIL import Image

import crucible_batch as api
from crucible_batch.gateway import Retrier, RetryPolicy
from crucible_batch.journal.group_commit import GroupCommitWriter
from crucible_batch.runs import connecting, running
from crucible_batch.runs import directory as run_directory
from crucible_batch.runs.status import Status
from crucible_batch.sandbox import Running, SandboxConfig, parse_faults, pictures, serve
from crucible_batch.settings import Settings
from tests.harness.features import has_feature
from tests.harness.object_store import use_store
from tests.harness.plain_pictures import plain_picture
from tests.harness.sandbox_audit import with_audit
from tests.harness.skipped_time import loops_for, write_in_no_time

SPEED = 200.0
_BESIDE = {".json", ".jsonl", ".html"}
HEAD = "version: 1\nname: trial\nworkflow: zimage-base\nparams: {size.width: 64, size.height: 64}\n"


class FastClock:
    """The clock of the test's event loop, sped up. The sandbox lives by the same one."""

    def __init__(self) -> None:
        self._wall = time.time()
        self._loop: asyncio.AbstractEventLoop | None = None

    def follow(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self._wall + self.monotonic()

    def monotonic(self) -> float:
        assert self._loop is not None
        return self._loop.time() * SPEED

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)


class Watcher:
    """An observer that keeps the messages, and calls ``on`` with each."""

    def __init__(self, on: Callable[[object], None] = lambda _message: None) -> None:
        self.messages: list[object] = []
        self._on = on

    def notify(self, message: object) -> None:
        self.messages.append(message)
        self._on(message)


class Tampered(httpx.AsyncBaseTransport):
    """A real transport; ``tamper(request, send)`` gives each answer."""

    def __init__(
        self, tamper: Callable[[httpx.Request, Callable[[], Awaitable[httpx.Response]]], Any]
    ) -> None:
        self._inner = httpx.AsyncHTTPTransport()
        self._tamper = tamper

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._tamper(request, lambda: self._inner.handle_async_request(request))

    async def aclose(self) -> None:
        await self._inner.aclose()


class FastRuns:
    """What differs in the runs of a bench from those of a user: the clock, and what costs time but
    decides nothing.
    """

    def __init__(self, patch: pytest.MonkeyPatch, clock: FastClock) -> None:
        self._patch = patch
        self._clock = clock
        self._live_by_the_clock()
        self._give_up_soon()
        self._let_no_time_pass_while_the_journal_is_written()
        self._read_certificates_once()
        self._make_the_sandbox_cheap()

    def _live_by_the_clock(self) -> None:
        self._patch.setattr(running, "SystemClock", lambda: self._clock)
        self._patch.setattr(run_directory, "SystemClock", lambda: self._clock)

    def _give_up_soon(self) -> None:
        """Retry without two minutes of patience with errors.

        How long an outage may last is decided by the run.
        """
        open_gateway = connecting.open_gateway

        def opened(*args: Any, retry: RetryPolicy | Retrier, **options: Any) -> Any:
            clock = self._clock
            retrier = (
                retry
                if isinstance(retry, Retrier)
                else Retrier(retry, sleep=clock.sleep, clock=clock.monotonic)
            )
            retrier.policy = RetryPolicy(outage_s=retrier.policy.outage_s)
            return open_gateway(*args, retry=retrier, **options)

        self._patch.setattr(connecting, "open_gateway", opened)

    def _let_no_time_pass_while_the_journal_is_written(self) -> None:
        self._patch.setattr(GroupCommitWriter, "write", write_in_no_time)

    def _read_certificates_once(self) -> None:
        """Make the TLS context once for all tests: it takes longer than a run."""
        self._patch.setattr(ssl, "create_default_context", _tls)

    def _make_the_sandbox_cheap(self) -> None:
        """Draw pictures of one colour, send answers without delay, and close the server soon."""
        self._patch.setattr(pictures, "render", plain_picture)
        self._patch.setattr(uvicorn.server, "asyncio", _Impatient())


_tls = functools.cache(ssl.create_default_context)


class _Impatient:
    """``asyncio`` for uvicorn's shutdown, which otherwise sleeps a fifth of a second a test."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / 50)


@dataclass
class Bench:
    """A running sandbox, a directory, and what a user does with them."""

    running: Running
    clock: FastClock
    path: Path
    http: httpx.AsyncClient
    submits: list[dict[str, Any]] = field(default_factory=list)
    has_pages: bool = False

    @property
    def settings(self) -> Settings:
        return Settings(api_key=self.running.api_key, base_url=self.running.api_url)

    def manifest(self, jobs: str, *, budget: object = 100, head: str = "") -> Path:
        """Write a manifest: ``jobs`` are lines of YAML flow mappings, one job each."""
        lines = "".join(f"  - {line.strip()}\n" for line in jobs.strip().splitlines())
        cap = f"budget: {{credits: {budget}}}\n" if budget is not None else ""
        path = self.path / "m.yaml"
        path.write_text(f"{HEAD}{cap}{head}jobs:\n{lines}")
        return path

    def picture(self, name: str, colour: str = "teal", size: tuple[int, int] = (64, 64)) -> str:
        buffer = io.BytesIO()
        Image.new("RGB", size, colour).save(buffer, "PNG")
        (self.path / name).write_bytes(buffer.getvalue())
        return name

    async def run(self, manifest: Path, **options: Any) -> api.RunResult:
        options.setdefault("settings", self.settings)
        options.setdefault("out_dir", self.path / "out")
        options.setdefault("html", self.has_pages)
        await self.clock.sleep(1)  # nobody types a command in no time
        async with asyncio.timeout(60):  # a run that hangs
            return await api.run(manifest, **options)

    async def state(self) -> Any:
        answer = await self.http.get(f"{self.running.api_url}/_sandbox/state")
        return with_audit(json.loads(answer.text, parse_float=Decimal))

    async def configure(self, **levers: object) -> None:
        answer = await self.http.post(f"{self.running.api_url}/_sandbox/config", json=levers)
        assert answer.status_code == 200, answer.text

    async def agree(
        self, result: api.RunResult | Status, *, never_named: Decimal = Decimal(0)
    ) -> Any:
        """Hold our books against the judge's, and the judge's against themselves. Returns the
        judge's state.

        ``never_named`` is what uploads whose price nobody named may have cost beyond what they did.
        """
        state = await self.state()
        audit, books = state["audit"], result.report.credits
        assert audit["problems"] == []
        assert state["violations"] == []
        assert state["keyless_posts"] == 0
        taken = audit["spent_on_jobs"] + audit["spent_on_uploads"] + audit["reserved"]
        assert books.spent + books.held == taken + never_named
        if books.held == 0:
            assert books.spent == taken
            assert (books.jobs, books.uploads - books.rebates) == (
                audit["spent_on_jobs"],
                audit["spent_on_uploads"],
            )
        return state

    async def verify(self) -> None:
        """Compare the outputs with the journal, unless the feature that does so was deleted."""
        if has_feature("check"):
            found = await api.check_outputs(self.path / "out")
            assert (found.exit_code, found.differences) == (0, ())

    def outputs(self) -> list[str]:
        """The outputs that stand there. What stands beside an output is none."""
        out = self.path / "out"
        files = (
            path for path in out.rglob("*") if path.is_file() and ".crucible" not in path.parts
        )
        return sorted(
            path.relative_to(out).as_posix()
            for path in files
            if path.suffix not in {".json", ".jsonl", ".html"}
        )


async def delete_images(bench: Bench) -> None:
    """Delete all images, as another client does."""
    headers = {"Authorization": f"Bearer {bench.running.api_key}"}
    for asset in (await bench.state())["assets"]:
        answer = await bench.http.delete(
            f"{bench.running.api_url}/api/v1/assets/{asset['asset_id']}", headers=headers
        )
        assert answer.status_code == 200, answer.text


def pytest_asyncio_loop_factories(item: pytest.Item) -> object:
    """Tests on a bench run in a loop that skips the time in which all wait."""
    return loops_for(item, "start")


Start = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture
def start(
    collected_between_tests: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Start:
    """Start a bench; keywords are those of ``SandboxConfig``, ``faults`` and ``credits`` in short
    form.

    Its runs write ``report.html``, a twelfth of their time, only for modules with ``HAS_PAGES =
    True``. In modules with ``SHORT_JOBS = True``, whose checks don't depend on how long a job
    takes, it takes a tenth of that, and fewer polls.
    """
    clock = FastClock()
    FastRuns(monkeypatch, clock)

    @asynccontextmanager
    async def make(
        *, faults: str = "", credits: object = 1000, **config: Any
    ) -> AsyncIterator[Bench]:
        clock.follow(asyncio.get_running_loop())
        config.setdefault("runners", 64)
        config.setdefault("download_ttl_s", 1e6)
        config.setdefault("upload_ttl_s", 1e6)
        config.setdefault("ready_after_s", 0.1)
        config.setdefault("slow_answer_s", 0.01)
        if getattr(request.module, "SHORT_JOBS", False):
            config.setdefault("time_scale", 0.1)
        accounts = config.pop("accounts", {"moltazine_sandbox": Decimal(str(credits))})
        settings = SandboxConfig(accounts=accounts, faults=parse_faults(faults), **config)
        async with (
            serve(settings, clock=clock.now) as found,
            httpx.AsyncClient(trust_env=False) as http,
        ):
            yield Bench(
                found, clock, tmp_path, http, has_pages=getattr(request.module, "HAS_PAGES", False)
            )

    return make


_tests_before_full_collection = itertools.cycle(range(16))


@pytest.fixture
def collected_between_tests() -> Iterator[None]:
    """Keep the garbage collector out of a run: a socket that a cancelled connection left open warns
    when it is collected, the warning imports, and CPython's import lock breaks where that happens
    within another import (gh-91351), such as the one that httpcore makes for each connection.

    What a test made is young, so it is collected after the test; what has survived that, every 16
    tests.
    """
    gc.disable()
    yield
    gc.enable()
    gc.collect(2 if next(_tests_before_full_collection) == 0 else 1)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The object store of all runs, whose journals are below ``state``."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return use_store(monkeypatch)


@pytest.fixture
def watcher() -> type[Watcher]:
    return Watcher


@pytest.fixture
def tampered() -> type[Tampered]:
    return Tampered


@pytest.fixture
def tally() -> Callable[[api.RunResult], Counter[str]]:
    """Count a report's rows by status."""
    return lambda result: Counter(row.status for row in result.jobs())
