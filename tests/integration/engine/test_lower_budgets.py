"""A budget below what is spent and set aside for shards is refused while they are out. The judge is the ledger."""

from __future__ import annotations

import asyncio
import contextlib
from decimal import Decimal
from typing import Any

import pytest

from crucible_batch.api.cluster.claimed_shard import ShardClaim
from crucible_batch.api.shards.note import noted_in
from crucible_batch.domain.shard_lease import FencedAnswer
from crucible_batch.errors import CrucibleBatchError
from tests.integration.engine.cluster_ground import ClusterGround, MemoryCluster

BUDGET, PRICE, JOBS = 40, 2, 30
HEAD = "concurrency: 1\nbudget: {{credits: {}, max_credits_per_job: 2}}\n"


def manifest_of(bench: Any, budget: int) -> Any:
    jobs = f"{{name: t, prompt: text, repeat: {JOBS}}}"
    return bench.manifest(jobs, budget=None, head=HEAD.format(budget))


async def interrupted(ground: ClusterGround, *, after: int) -> int:
    """Start a run on the cluster, and end its coordinator and both workers after some purchases; return their number.

    The shards stay queued. Other workers take them as soon as another coordinator has the run.
    """
    bench, cluster, enough, is_continued = ground.bench, ground.cluster, asyncio.Event(), asyncio.Event()

    async def dying(claim: ShardClaim) -> bool:
        if is_continued.is_set():
            return False
        working = asyncio.ensure_future(claim.work(asyncio.Event()))
        while len((await bench.state())["jobs"]) < after:
            await asyncio.sleep(0.001)
        working.cancel()
        await asyncio.wait({working})
        enough.set()
        await is_continued.wait()
        return True

    ground.on_claim = dying
    running = asyncio.ensure_future(ground.run(manifest_of(bench, BUDGET), shards=2))
    await enough.wait()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    renew = cluster.renew_run

    async def renewing(run: str, epoch: int) -> FencedAnswer:
        cluster.now += 0 if is_continued.is_set() else 1000  # the leases of the dead workers have expired
        is_continued.set()
        return await renew(run, epoch)

    cluster.renew_run = renewing  # type: ignore[method-assign]
    bought: int = len((await bench.state())["jobs"])
    assert after <= bought < BUDGET / PRICE
    return bought


async def most_used(bench: Any) -> Decimal:
    used: Decimal = max(1000 - row["balance_after"] + row["reserved_after"] for row in (await bench.state())["ledger"])
    return used


@pytest.mark.parametrize(
    ("lower", "given"),
    [
        (39, "option"),
        (4, "manifest"),
        pytest.param(4, "option", marks=pytest.mark.slow),
        pytest.param(39, "manifest", marks=pytest.mark.slow),
    ],
)
async def test_a_lower_budget_is_refused_while_shards_are_out(
    start: Any, monkeypatch: pytest.MonkeyPatch, lower: int, given: str
) -> None:
    """4 is below what is spent, 39 below that and what the shards still have. Nothing is started, and nothing lost."""
    async with start() as bench:
        ground = ClusterGround(bench, monkeypatch)
        bought = await interrupted(ground, after=6)
        outstanding = noted_in(bench.path / "out")
        assert outstanding is not None
        assert outstanding.missing == (1, 2)
        calls, queued = list(ground.cluster.calls), len(ground.working)
        # The database would take a lower budget: what is set aside is not more than what it was.
        monkeypatch.setattr(MemoryCluster, "check", lambda _cluster: None)
        options: dict[str, Any] = {"budget": Decimal(lower)} if given == "option" else {}
        with pytest.raises(CrucibleBatchError) as refused:
            await ground.run(manifest_of(bench, BUDGET if given == "option" else lower), shards=2, **options)
        assert refused.value.exit_code == 2
        text = f"{refused.value.message} {refused.value.hint}"
        assert str(lower) in text
        assert "budget" in text
        assert len((await bench.state())["jobs"]) == bought
        assert len(ground.working) == queued
        assert [call for call in ground.cluster.calls[len(calls) :] if call != "closed"] == []
        assert noted_in(bench.path / "out") == outstanding
        again = await ground.run(manifest_of(bench, BUDGET), shards=2)
        assert again.exit_code == 4
        assert await most_used(bench) == BUDGET


async def test_a_higher_budget_and_the_same_one_continue_the_shards(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        ground = ClusterGround(bench, monkeypatch)
        await interrupted(ground, after=6)
        result = await ground.run(manifest_of(bench, BUDGET), shards=2, budget=Decimal(2 * BUDGET))
        assert result.ok
        assert len((await bench.state())["jobs"]) == JOBS
        assert await most_used(bench) == JOBS * PRICE <= 2 * BUDGET
