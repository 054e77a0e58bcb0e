"""Runs of a cluster in an object store: what one worker's machine has is lost with it. The judge is the ledger."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crucible_batch import api
from crucible_batch.api.cluster.claimed_shard import ShardClaim
from crucible_batch.domain.shard_lease import ShardState
from crucible_batch.errors import JournalError, ShardsUnknownError
from crucible_batch.outputs import ObjectStoreError
from tests.integration.engine.cluster_ground import ClusterGround
from tests.integration.engine.stored import URL
from tests.integration.engine.test_cluster_runs import check, never
from tests.unit.outputs.object_fakes import DictObjects, unusable


def workers_state(bench: Any) -> Path:
    return bench.path / "state" / "crucible-batch" / "shards"


async def bought(bench: Any) -> int:
    return len((await bench.state())["jobs"])


async def test_the_shards_of_a_run_are_merged_and_settled(
    start: Any, store: DictObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        ground = ClusterGround(bench, monkeypatch)
        ground.on_claim = never
        manifest = bench.manifest("{name: t, prompt: text, repeat: 9}", budget=18)
        result = await ground.run(manifest, shards=3, out_dir=Path(URL))
        assert len(await check(ground, result)) == 9
        assert (result.exit_code, result.outputs_at) == (0, URL)
        assert ground.cluster.run is not None
        assert ground.cluster.run.location == URL
        assert len([key for key in store.content if key.endswith(".png")]) == 9
        assert not list(bench.path.rglob("*.png"))
        assert (await api.verify(URL)).exit_code == 0


async def test_the_allowance_of_a_shard_is_not_returned_if_its_log_was_deleted(
    start: Any, store: DictObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        ground = ClusterGround(bench, monkeypatch)

        async def deleted(claim: ShardClaim) -> bool:
            await claim.work(asyncio.Event())
            for key in [key for key in store.content if "/1-of-1/" in key]:
                del store.content[key]
            return True

        ground.on_claim = deleted
        manifest = bench.manifest("{name: t, prompt: text, repeat: 3}", budget=18)
        with pytest.raises(JournalError, match=r"log of shard 1/1 .* was deleted, .* 4 credits are known") as caught:
            await ground.run(manifest, shards=1, out_dir=Path(URL))
        assert f"crucible-batch merge {URL} --abandon 1" in str(caught.value.hint)


@pytest.mark.parametrize("budget", [32, 18])
async def test_a_killed_worker_whose_machine_is_lost_is_replaced_within_the_allowance(
    start: Any, store: DictObjects, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    async with start() as bench:
        ground = ClusterGround(bench, monkeypatch)

        async def killed(claim: ShardClaim) -> bool:
            """The first owner buys something, and is killed before it reports."""
            if claim.claimed.epoch > 1:
                return False
            working = asyncio.ensure_future(claim.work(asyncio.Event()))
            while await bought(bench) < 6:
                await asyncio.sleep(0.001)
            working.cancel()
            await asyncio.wait({working})
            shutil.rmtree(workers_state(bench))
            return True

        ground.on_claim = killed
        manifest = bench.manifest("{name: t, prompt: text, repeat: 16}", budget=budget, head="concurrency: 2\n")
        result = await ground.run(manifest, shards=1, out_dir=Path(URL))
        keys = await check(ground, result)
        assert len(keys) == budget / 2
        assert result.exit_code == (0 if budget == 32 else 4)


async def test_a_worker_that_wakes_up_after_its_lease_sends_nothing_more(
    start: Any, store: DictObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own clock has stood still, so that it doesn't notice the end of its lease: the log does."""
    async with start() as bench:
        ground = ClusterGround(bench, monkeypatch)
        zombies: list[asyncio.Future[None]] = []
        awake, sent = asyncio.Event(), [0]
        create = store.create

        async def slow(key: str, content: bytes) -> bool:
            if "1-of-1/0000000" in key and key.endswith("4.json") and not awake.is_set() and zombies:
                await awake.wait()
            return await create(key, content)

        async def frozen(claim: ShardClaim) -> bool:
            if claim.claimed.epoch > 1:
                awake.set()
                store.create = create  # type: ignore[method-assign]
                return False

            async def no_renewal(_seconds: float) -> None:
                await asyncio.Event().wait()

            claim.tools = replace(claim.tools, monotonic=lambda: 0.0, sleep=no_renewal)
            claim.claimed_at = 0.0
            store.create = slow  # type: ignore[method-assign]
            zombies.append(asyncio.ensure_future(claim.work(asyncio.Event())))
            while await bought(bench) < 2:
                await asyncio.sleep(0.001)
            sent[0] = await bought(bench)
            return True

        ground.on_claim = frozen
        manifest = bench.manifest("{name: t, prompt: text, repeat: 30}", budget=20, head="concurrency: 1\n")
        result = await ground.run(manifest, shards=1, out_dir=Path(URL))
        await asyncio.wait(zombies)
        keys = await check(ground, result)
    assert (result.exit_code, len(keys)) == (4, 10)
    assert [call for call in ground.cluster.calls if call.startswith("1 e1")] == []


async def test_a_store_that_fails_returns_the_shard(
    start: Any, store: DictObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        ground = ClusterGround(bench, monkeypatch)

        async def failing(claim: ShardClaim) -> bool:
            if claim.claimed.epoch > 1:
                return False

            def fault(request: str, key: str) -> None:
                if request == "create" and "1-of-1/00000003" in key:
                    raise unusable(key)

            store.fault = fault
            with pytest.raises(ObjectStoreError):
                await claim.work(asyncio.Event())
            store.fault = lambda _request, _key: None
            return True

        ground.on_claim = failing
        manifest = bench.manifest("{name: t, prompt: text, repeat: 6}", budget=20, head="concurrency: 1\n")
        result = await ground.run(manifest, shards=1, out_dir=Path(URL))
        assert len(await check(ground, result)) == 6
    assert ground.cluster.calls == ["1 e1 released accepted", "1 e2 succeeded accepted", "closed"]


async def test_a_coordinator_that_lost_its_machine_buys_nothing_until_the_shards_are_merged(
    start: Any, store: DictObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        ground = ClusterGround(bench, monkeypatch)

        async def taken(_claim: ShardClaim) -> bool:
            ground.cluster.epoch += 1  # so that the coordinator ends without a merge
            return False

        ground.on_claim = taken
        manifest = bench.manifest("{name: t, prompt: text, repeat: 8}", budget=16)
        with pytest.raises(Exception, match="another coordinator"):
            await ground.run(manifest, shards=1, out_dir=Path(URL))
        await asyncio.wait(ground.working)
        shutil.rmtree(bench.path / "state" / "crucible-batch" / "runs")
        before = await bought(bench)
        with pytest.raises(ShardsUnknownError):
            await ground.run(manifest, shards=1, out_dir=Path(URL))
        assert await bought(bench) == before == 8
        assert (await asyncio.to_thread(api.merge, [URL])).merged == (1,)
        result = await bench.run(manifest, out_dir=URL)
        assert (result.report.counts.succeeded, await bought(bench)) == (8, 8)
    assert ShardState.ENDED in {lease.state for lease in ground.cluster.rules.shards.values()}
    assert Decimal(result.report.credits.spent) == 16
