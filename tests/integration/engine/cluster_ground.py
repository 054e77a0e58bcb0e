"""A cluster in memory: its database is the model in ``tests/lease_model.py``, and its workers are tasks.

With PostgreSQL and processes: tests/verification/cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from crucible_batch import api
from crucible_batch.api import cancellation
from crucible_batch.api.cluster import coordinator
from crucible_batch.api.cluster import run as cluster_run
from crucible_batch.api.cluster.claimed_shard import ShardClaim, WorkerTools
from crucible_batch.api.cluster.coordinator import CoordinatorPace
from crucible_batch.api.cluster.run import run_on_cluster
from crucible_batch.cluster import (
    AllowanceResult,
    ClaimedShard,
    ClusterRun,
    ControlTaker,
    QueuedShard,
    RunClaim,
    ShardFigures,
    ShardKey,
)
from crucible_batch.domain.cluster_control import GivenControl
from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.shard_lease import AllowanceAnswer, ClaimAnswer, FencedAnswer
from crucible_batch.domain.sharding import PlannedShard
from tests.lease_model import RunAllowances, ShardLease


@dataclass
class MemoryCluster:
    """A database with one run. ``now`` is its clock; ``peak`` is the most that was used and set aside."""

    run: ClusterRun | None = None
    epoch: int = 0
    rules: RunAllowances = field(default_factory=lambda: RunAllowances(ZERO))
    jobs: dict[tuple[str, int], PlannedShard] = field(default_factory=dict)
    ends: dict[tuple[str, int], tuple[str | None, ShardFigures]] = field(default_factory=dict)
    now: float = 0.0
    address: Any = None
    late_at: float | None = None
    clock: Any = None
    calls: list[str] = field(default_factory=list)
    given: list[GivenControl] = field(default_factory=list)

    # What a coordinator calls.

    async def open_run(self, run: ClusterRun, claim: str | None = None) -> RunClaim:
        self.run, self.epoch = run, self.epoch + 1
        self.rules = replace(self.rules, budget=run.budget, used=run.used)
        return RunClaim(run.run, "claimed", self.epoch, self.rules.left)

    async def renew_run(self, _run: str, epoch: int) -> FencedAnswer:
        return FencedAnswer.ACCEPTED if epoch == self.epoch else FencedAnswer.SUPERSEDED

    async def close_run(self, _run: str, _epoch: int) -> None:
        self.calls.append("closed")

    async def close(self) -> None:
        """There is no connection."""

    async def workers(self) -> tuple[()]:
        return ()

    async def add_shards(self, _run: str, epoch: int, digest: str, shards: Sequence[PlannedShard]) -> AllowanceResult:
        assert epoch == self.epoch
        self.rules, answer = self.rules.deferred(digest, {each.number: each.allowance for each in shards})
        self.jobs.update({(digest, each.number): each for each in shards})
        self.check()
        return AllowanceResult(answer, self.rules.left)

    async def settle_run(
        self, _run: str, epoch: int, used: Credits, merged: Collection[ShardKey] = ()
    ) -> AllowanceResult:
        if epoch != self.epoch:
            return AllowanceResult(AllowanceAnswer.SUPERSEDED, self.rules.left)
        self.rules, answer = self.rules.settled(used, {(key.plan_digest, key.number) for key in merged})
        self.check()
        return AllowanceResult(answer, self.rules.left)

    async def shards(self, run: str) -> tuple[QueuedShard, ...]:
        return tuple(
            QueuedShard(
                key=ShardKey(run, *key),
                jobs=self.jobs[key].jobs,
                admitted=self.jobs[key].admitted,
                allowance=lease.allowance,
                state=lease.state,
                epoch=lease.epoch,
                worker=lease.claim,
                waiting_age_s=0.0,
                claimed_age_s=0.0,
                renewed_age_s=0.0,
                ended_age_s=0.0,
                ending=self.ends.get(key, (None, ShardFigures()))[0],
                figures=self.ends.get(key, (None, ShardFigures()))[1],
            )
            for key, lease in sorted(self.rules.shards.items())
        )

    def check(self) -> None:
        """What the run has used and what is set aside never exceed the budget."""
        assert self.rules.used + self.rules.set_aside <= self.rules.budget

    async def set_deadline(self, _run: str, epoch: int, left_s: float | None) -> AllowanceAnswer:
        assert epoch == self.epoch
        self.late_at = None if left_s is None else self.clock.monotonic() + left_s
        return AllowanceAnswer.ACCEPTED

    # What a worker calls.

    async def claim_shard(self, key: ShardKey, worker: str) -> ClaimedShard:
        return self.claimed(key, worker)

    def lease(self, key: ShardKey) -> ShardLease:
        return self.rules.shards[key.plan_digest, key.number]

    def _change(self, key: ShardKey, lease: ShardLease) -> None:
        self.rules = replace(self.rules, shards={**self.rules.shards, (key.plan_digest, key.number): lease})
        self.check()

    def claimed(self, key: ShardKey, claim: str) -> ClaimedShard:
        lease, answer = self.lease(key).claimed(claim, self.now)
        self._change(key, lease)
        assert self.run is not None
        return ClaimedShard(key, answer, lease.epoch, lease.allowance, self.run.location, self.run.gateway)

    async def take_controls(self, _key: ShardKey, _epoch: int, _taken: int, _in_flight: int) -> list[GivenControl]:
        return []

    async def controls(self, _run: str) -> list[GivenControl]:
        return self.given

    async def takers(self, _run: str) -> list[ControlTaker]:
        return []

    async def forget_taker(self, _run: str, _epoch: int) -> None:
        """The coordinator runs nothing itself any more."""

    async def deadline(self, _run: str) -> float | None:
        return None if self.late_at is None else self.late_at - self.clock.monotonic()

    async def renew_shard(self, key: ShardKey, epoch: int, figures: ShardFigures) -> FencedAnswer:
        lease, answer = self.lease(key).renewed(epoch, self.now, figures.spent, figures.held)
        self._change(key, lease)
        return answer

    async def report_shard(self, key: ShardKey, epoch: int, ending: str, figures: ShardFigures) -> FencedAnswer:
        lease, answer = self.lease(key).reported(epoch, figures.spent, figures.held)
        self._change(key, lease)
        if answer is FencedAnswer.ACCEPTED:
            self.ends[key.plan_digest, key.number] = (ending, figures)
        self.calls.append(f"{key.number} e{epoch} {ending} {answer}")
        return answer

    async def release_shard(self, key: ShardKey, epoch: int, figures: ShardFigures) -> FencedAnswer:
        lease, answer = self.lease(key).released(epoch, figures.spent, figures.held)
        self._change(key, lease)
        self.calls.append(f"{key.number} e{epoch} released {answer}")
        return answer


class ClusterGround:
    """A coordinator on a bench, with workers that take each shard as soon as it is queued.

    ``on_claim`` is called with each claim; if it returns true, the worker does nothing with it: as if it was killed.
    """

    def __init__(self, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench, self.cluster = bench, MemoryCluster(clock=bench.clock)
        self.settings = bench.settings
        self.on_claim: Any = lambda _claim: False
        self.working: list[asyncio.Future[None]] = []
        ground = self

        class Queue:
            def __init__(self, _address: object, *, lease_s: float) -> None:
                """There is no database."""

            async def __aenter__(self) -> Queue:
                return self

            async def __aexit__(self, *_exc: object) -> None:
                """Nothing to close."""

            async def defer(self, keys: Iterable[ShardKey]) -> int:
                ground.working += [asyncio.ensure_future(ground.work(key)) for key in keys]
                return len(ground.working)

        async def opened(*_args: object, **_options: object) -> MemoryCluster:
            return self.cluster

        monkeypatch.setattr(cluster_run, "SystemClock", lambda: bench.clock)
        monkeypatch.setattr(cancellation, "time", bench.clock)
        monkeypatch.setattr(coordinator, "ShardQueue", Queue)
        monkeypatch.setattr(cluster_run.ClusterDatabase, "opened", opened)

    async def work(self, key: ShardKey) -> None:
        """Claim a shard until a worker has ended it."""
        claimed = self.cluster.claimed(key, f"worker {len(self.working)}")
        while claimed.answer is ClaimAnswer.CLAIMED:
            database: Any = self.cluster
            clock = asyncio.get_running_loop().time
            tools = WorkerTools(database, database, self.settings, monotonic=clock)
            claim = ShardClaim(claimed, tools, clock(), await self.cluster.deadline(key.run))
            if not await self.on_claim(claim):
                await claim.work(asyncio.Event())
            self.cluster.now += 15
            claimed = self.cluster.claimed(key, f"another {self.cluster.now}")

    async def run(
        self, manifest: Any, *, shards: int, out_dir: Path | None = None, observer: Any = None, **options: Any
    ) -> api.RunResult:
        """Run on the cluster. ``options`` are fields of the request."""
        request = replace(
            api.RunRequest(manifest, out_dir=out_dir or self.bench.path / "out"), shards=shards, **options
        )
        address: Any = None
        async with asyncio.timeout(300):
            return await run_on_cluster(
                request, address, settings=self.settings, observer=observer, pace=CoordinatorPace(poll_s=0.05)
            )
