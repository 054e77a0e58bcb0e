"""Shards that have logs, on machines that share nothing but an object store, or a directory."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.features.registry import plan_kind_of
from crucible_batch.features.shards.plan_options import DivisionOptions
from crucible_batch.features.shards.probing import probe
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import ObjectPort
from crucible_batch.runs.object_runs import objects_at
from crucible_batch.runs.planning import plan_request
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.run_log import LOG
from tests.harness.bench import Start
from tests.harness.object_fakes import DictObjects
from tests.harness.object_store import URL, use_store

JOBS = 12
PRICE = 2


@dataclass
class Ground:
    """A plan of two shards, and machines with a state directory each. The judge is the sandbox's
    ledger.

    ``url`` is the place of the run: an object store's, or a directory that all machines see.
    """

    bench: Any
    store: DictObjects
    patch: pytest.MonkeyPatch
    manifest: Path
    url: str = URL

    @property
    def plan(self) -> Path:
        return self.bench.path / "plan.json"

    @contextmanager
    def on(self, machine: str) -> Iterator[Path]:
        with self.patch.context() as patch:
            state = self.bench.path / machine
            patch.setenv("XDG_STATE_HOME", str(state))
            yield state

    async def divide(self, shards: int = 2, machine: str = "main") -> api.PlanSummary:
        features = (DivisionOptions(shards),)
        request = RunRequest(self.manifest, out_dir=Path(self.url), features=features)
        with self.on(machine):
            probed = await probe(request, self.plan, settings=self.bench.settings)
            assert probed is None or probed.may_divide
            return await plan_request(
                request, plan_kind_of, self.plan, settings=self.bench.settings
            )

    async def shard(
        self, number: int, machine: str, count: int = 2, **options: Any
    ) -> api.RunResult:
        with self.on(machine):
            return await api.run(
                self.plan, shard=f"{number}/{count}", settings=self.bench.settings, **options
            )

    def merge(self, *, machine: str = "main", **options: Any) -> api.MergeResult:
        with self.on(machine):
            return api.merge([self.url], **options)

    async def run(self, machine: str = "main") -> api.RunResult:
        with self.on(machine):
            return await self.bench.run(self.manifest, out_dir=self.url)

    async def keys(self) -> list[str]:
        return [job["idempotency_key"] for job in (await self.bench.state())["jobs"]]

    async def check(self, budget: Decimal) -> None:
        """No key was charged twice, and no row of the ledger is above the budget."""
        state = await self.bench.state()
        assert set(Counter(await self.keys()).values()) <= {1}
        assert (
            max(1000 - row["balance_after"] + row["reserved_after"] for row in state["ledger"])
            <= budget
        )

    @property
    def objects(self) -> ObjectPort:
        return objects_at(ObjectUrl.at(self.url))

    @property
    def folder(self) -> Path:
        return ObjectUrl.at(self.url).folder or Path()

    def content(self) -> dict[str, bytes]:
        """The objects of the run, by key."""
        if self.url == URL:
            return self.store.content
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in files}

    def delete(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Delete objects, and return them."""
        kept = {key: self.content()[key] for key in keys}
        for key in kept:
            if self.url == URL:
                del self.store.content[key]
            else:
                Path(self.folder, key).unlink()
        return kept

    def delete_log(self) -> None:
        """Make the run one that has no log, and never had."""
        self.delete([key for key in self.content() if key.startswith(f"{LOG}/")])
        for path in self.bench.path.glob("*/crucible-batch/runs/*/.crucible/journal.sqlite3"):
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("DELETE FROM meta WHERE key = 'log_writers'")

    def put_back(self, kept: Mapping[str, bytes]) -> None:
        for key, content in kept.items():
            if self.url == URL:
                self.store.content[key] = content
            else:
                Path(self.folder, key).write_bytes(content)

    def pictures(self) -> list[str]:
        return sorted(key for key in self.content() if key.endswith(".png"))

    def log(self, number: int, count: int = 2) -> list[str]:
        return sorted(key for key in self.content() if f"/{number}-of-{count}/0" in key)


PLACES = pytest.mark.parametrize("ground", ["store", "directory", "url"], indirect=True)
"""A test that an object store, and a shared directory by its path and its URL, have to pass."""


@pytest.fixture
def ground(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Callable[..., Ground]:
    store = use_store(monkeypatch)
    kind = getattr(request, "param", "store")

    def make(bench: Any, *, budget: int = 100, jobs: int = JOBS, head: str = "") -> Ground:
        cap = f"budget: {{credits: {budget}, max_credits_per_job: 2}}\n"
        manifest = bench.manifest(
            f"{{name: t, prompt: text, repeat: {jobs}}}", budget=None, head=f"{cap}{head}"
        )
        url, folder = URL, bench.path / "shared"
        if kind == "directory":
            url = str(folder)
        if kind == "url":
            folder.mkdir()
            url = f"file://{folder}"
        return Ground(bench, store, monkeypatch, manifest, url)

    return make


@pytest.fixture
async def divided(start: Start, ground: Callable[..., Ground]) -> AsyncIterator[Ground]:
    """The ground with its usual jobs and budget, divided into two shards."""
    async with start() as bench:
        run = ground(bench)
        await run.divide()
        yield run
