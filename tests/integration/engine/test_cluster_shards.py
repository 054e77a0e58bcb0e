"""A shard of a cluster that changes hands: what its owners buy together. The database is the rules, in memory.

The judge is the sandbox's ledger. With PostgreSQL and processes: tests/verification/cluster.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from crucible_batch.api.cluster.claimed_shard import ShardClaim, WorkerTools
from crucible_batch.api.cluster.directories import NEW_WAVE, PLAN_FILE, publish_wave
from crucible_batch.cluster import ClaimedShard, ShardFigures, ShardKey
from crucible_batch.domain.cluster_control import GivenControl
from crucible_batch.domain.events import Held
from crucible_batch.domain.shard_lease import ClaimAnswer, FencedAnswer, ShardState
from crucible_batch.errors import ClusterSetupError, RunDirectoryError
from crucible_batch.journal import Journal
from crucible_batch.saved_plan import read_saved_plan
from tests.integration.engine.test_probe_shards import divided
from tests.lease_model import ShardLease

PRICE = 2
JOBS = 8
KEPT = 16
"""All of the shard's jobs at their price."""


@dataclass
class Database:
    """The lease of one shard, by the rules. Its clock is set by tests."""

    lease: ShardLease
    now: float = 0.0
    calls: list[str] = field(default_factory=list)

    def claimed(self, claim: str) -> int:
        self.lease, answer = self.lease.claimed(claim, self.now)
        assert answer is ClaimAnswer.CLAIMED
        return self.lease.epoch

    async def take_controls(self, _key: ShardKey, _epoch: int, _taken: int, _in_flight: int) -> list[GivenControl]:
        return []

    async def renew_shard(self, _key: ShardKey, epoch: int, figures: ShardFigures) -> FencedAnswer:
        self.lease, answer = self.lease.renewed(epoch, self.now, figures.spent, figures.held)
        return answer

    async def report_shard(self, _key: ShardKey, epoch: int, ending: str, figures: ShardFigures) -> FencedAnswer:
        self.lease, answer = self.lease.reported(epoch, figures.spent, figures.held)
        self.calls.append(f"{epoch} {ending} {answer}")
        return answer

    async def release_shard(self, _key: ShardKey, epoch: int, figures: ShardFigures) -> FencedAnswer:
        self.lease, answer = self.lease.released(epoch, figures.spent, figures.held)
        self.calls.append(f"{epoch} released {answer}")
        return answer


@dataclass
class Wave:
    """A plan of one shard, as a coordinator publishes it, and the workers that claim it."""

    bench: Any
    folder: Path
    database: Database
    claimed: ClaimedShard

    def claim(self, name: str, transport: httpx.AsyncBaseTransport | None = None, **tools: Any) -> ShardClaim:
        """Claim the shard for another worker. ``tools`` replace those of ``WorkerTools``."""
        claimed = replace(self.claimed, epoch=self.database.claimed(name))
        clock = asyncio.get_running_loop().time
        database: Any = self.database
        given = {"monotonic": clock, "sleep": asyncio.sleep, **tools}
        return ShardClaim(
            claimed, WorkerTools(database, database, self.bench.settings, transport, **given), given["monotonic"]()
        )

    async def bought(self) -> list[str]:
        return [job["idempotency_key"] for job in (await self.bench.state())["jobs"]]

    def held(self, epoch: int) -> set[str]:
        """The keys of all purchases that an owner's journal knows."""
        with Journal.read(self.folder / f"1-of-1.e{epoch}") as journal:
            return {event.key for _, event in journal.events() if isinstance(event, Held)}


async def published(bench: Any, budget: int) -> Wave:
    """Buy one job, and divide the others into one shard, whose allowance is what is left of the budget."""
    manifest = bench.manifest(f"{{name: t, prompt: text, repeat: {JOBS + 1}}}", budget=budget, head="concurrency: 2\n")
    main = bench.path / "out"
    target = main / "shards" / NEW_WAVE / PLAN_FILE
    target.parent.mkdir(parents=True)
    await divided(bench, manifest, 1, target=target)
    digest = read_saved_plan(target).digest
    folder = publish_wave(main, digest, manifest)
    allowance = read_saved_plan(folder / PLAN_FILE).head.shards[0].allowance
    key = ShardKey("run", digest, 1)
    claimed = ClaimedShard(key, ClaimAnswer.CLAIMED, 0, allowance, str(main), bench.settings.base_url)
    return Wave(bench, folder, Database(ShardLease(allowance)), claimed)


class Slow(httpx.AsyncBaseTransport):
    """A transport that keeps each submit after the first few until ``awake`` is set. ``keys`` were sent."""

    def __init__(self, free: int) -> None:
        self._inner = httpx.AsyncHTTPTransport()
        self._free = free
        self.keys: list[str] = []
        self.is_full = asyncio.Event()
        self.awake = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/generate"):
            self.keys.append(json.loads(await request.aread())["idempotency_key"])
            if len(self.keys) > self._free:
                self.is_full.set()
                await self.awake.wait()
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def until(event: asyncio.Event, working: asyncio.Future[None]) -> None:
    """Wait for an event of a worker, and raise what ends the worker before it."""
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait({waiting, working}, return_when=asyncio.FIRST_COMPLETED)
    if not event.is_set():
        working.result()
        pytest.fail("the worker has ended: see its log")


def report_of(wave: Wave, epoch: int) -> Any:
    return json.loads((wave.folder / f"1-of-1.e{epoch}" / "report.json").read_text(encoding="utf-8"))


async def test_the_successor_of_a_killed_worker_buys_the_rest_of_the_allowance_and_nothing_twice(start: Any) -> None:
    async with start() as bench:
        wave = await published(bench, 14)
        allowance = wave.claimed.allowance
        transport = Slow(3)
        first = asyncio.ensure_future(wave.claim("a", transport).work(asyncio.Event()))
        await until(transport.is_full, first)
        first.cancel()  # at once, as by SIGKILL: neither released nor reported
        await asyncio.wait({first})
        known = wave.held(1)
        wave.database.now += 15
        await wave.claim("b").work(asyncio.Event())
        bought = await wave.bought()
        assert known <= wave.held(2)
    assert wave.database.calls == ["2 blocked accepted"]
    assert len(bought) == len(set(bought)) == 1 + allowance // PRICE
    assert wave.database.lease.charge == Decimal(report_of(wave, 2)["credits"]["spent"]) == allowance
    assert sorted(path.name for path in wave.folder.glob("1-of-1*")) == ["1-of-1.e1", "1-of-1.e2"]


async def test_a_worker_that_wakes_up_sends_only_what_its_successor_knows(start: Any) -> None:
    """It comes to its next purchase before it comes to its lease, and its successor has not bought these jobs yet."""
    async with start() as bench:
        wave = await published(bench, 2 + KEPT)
        woken, later = Slow(2), Slow(0)
        clock = [0.0]

        async def never(_seconds: float) -> None:
            await asyncio.Event().wait()

        first = asyncio.ensure_future(
            wave.claim("a", woken, monotonic=lambda: clock[0], sleep=never).work(asyncio.Event())
        )
        await until(woken.is_full, first)
        clock[0] = wave.database.now = 60.0
        second = asyncio.ensure_future(wave.claim("b", later).work(asyncio.Event()))
        await until(later.is_full, second)  # it has copied the journal, and bought nothing yet
        known = wave.held(2)
        woken.awake.set()
        await first
        assert set(woken.keys) <= known
        later.awake.set()
        await second
        bought = await wave.bought()
    assert wave.database.calls == ["1 released superseded", "2 succeeded accepted"]
    assert len(bought) == len(set(bought)) == 1 + JOBS
    assert Decimal(report_of(wave, 2)["credits"]["spent"]) == KEPT == wave.database.lease.charge


@pytest.mark.parametrize(
    ("changed", "raised"),
    [
        (lambda wave: replace(wave.claimed, allowance=Decimal(99)), None),
        (lambda wave: replace(wave.claimed, key=ShardKey("run", wave.claimed.key.plan_digest, 2)), None),
        (
            lambda wave: replace(
                wave.claimed, key=ShardKey("run", wave.claimed.key.plan_digest[:8] + "0" * 56, 1)
            ),
            None,
        ),
        (lambda wave: replace(wave.claimed, gateway="https://other.example"), ClusterSetupError),
        (lambda wave: replace(wave.claimed, location=str(wave.bench.path / "deleted")), None),
        (lambda wave: replace(wave.claimed, location=str(wave.bench.path / "not" / "mounted")), RunDirectoryError),
    ],
    ids=[
        "another allowance", "a shard that the plan doesn't have", "another plan", "another gateway", "deleted",
        "not mounted",
    ],
)  # fmt: skip
async def test_a_claim_that_is_not_of_the_plan_on_disk_buys_nothing(
    start: Any, changed: Callable[[Wave], ClaimedShard], raised: type[Exception] | None
) -> None:
    """The shard is reported as refused, or given back to workers that may be set up otherwise."""
    async with start() as bench:
        wave = await published(bench, 2 + KEPT)
        wave.claimed = changed(wave)
        claim = wave.claim("a").work(asyncio.Event())
        if raised is None:
            await claim
        else:
            with pytest.raises(raised):
                await claim
        assert len(await wave.bought()) == 1  # by the probe
    assert wave.database.calls == ["1 refused accepted" if raised is None else "1 released accepted"]
    assert wave.database.lease.state is (ShardState.ENDED if raised is None else ShardState.WAITING)
    # What earlier owners have spent was not read: it may be the complete allowance.
    assert wave.database.lease.charge == wave.claimed.allowance or raised is not None
