"""Runs of a coordinator with workers, in memory: set aside, settled and merged. The judge is the sandbox's ledger."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from crucible_batch import api
from crucible_batch.api.cluster.claimed_shard import ShardClaim
from crucible_batch.api.shards.note import noted_shards
from crucible_batch.domain.cluster_control import GivenControl
from crucible_batch.domain.control import ControlAction, ControlCommand, ControlSource
from crucible_batch.domain.progress import Balance, RunBegan, RunEnded, ShardsAdvanced
from crucible_batch.domain.shard_lease import ShardState
from crucible_batch.errors import RunBusyError
from crucible_batch.journal import Journal
from tests.integration.engine.cluster_ground import ClusterGround


async def never(_claim: ShardClaim) -> bool:
    return False


async def check(ground: ClusterGround, result: api.RunResult) -> list[str]:
    """The report has the ledger's figures, and no row of the ledger exceeds the budget. Returns the keys."""
    state = await ground.bench.agree(result)
    keys = [job["idempotency_key"] for job in state["jobs"]]
    assert len(keys) == len(set(keys))
    rules = ground.cluster.rules
    highest = max(1000 - row["balance_after"] + row["reserved_after"] for row in state["ledger"])
    assert highest <= rules.budget
    assert (rules.used, rules.set_aside) == (result.report.credits.spent, 0)
    assert {lease.state for lease in rules.shards.values()} == {ShardState.MERGED}
    return keys


async def test_the_shards_of_a_run_are_merged_and_settled(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start() as bench:
        ground = ClusterGround(bench, monkeypatch)
        ground.on_claim = never
        result = await ground.run(bench.manifest("{name: t, prompt: text, repeat: 9}", budget=18), shards=3)
        keys = await check(ground, result)
    assert result.ok
    assert len(keys) == 9
    assert sorted(ground.cluster.calls) == ["1 e1 succeeded accepted", "2 e1 succeeded accepted",
                                            "3 e1 succeeded accepted", "closed"]  # fmt: skip


async def test_the_directory_of_the_last_owner_is_merged(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start() as bench:
        ground = ClusterGround(bench, monkeypatch)

        async def killed(claim: ShardClaim) -> bool:
            """The first owner buys something, and is killed before it reports."""
            if claim.claimed.epoch > 1:
                return False
            working = asyncio.ensure_future(claim.work(asyncio.Event()))
            while len((await bench.state())["jobs"]) < 4:
                await asyncio.sleep(0.001)
            working.cancel()
            await asyncio.wait({working})
            return True

        ground.on_claim = killed
        manifest = bench.manifest("{name: t, prompt: text, repeat: 12}", budget=24, head="concurrency: 1\n")
        result = await ground.run(manifest, shards=1)
        keys = await check(ground, result)
    assert result.ok
    assert len(keys) == 12
    assert ground.cluster.calls == ["1 e2 succeeded accepted", "closed"]


async def test_what_a_wave_does_not_spend_is_set_aside_for_the_next(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a ceiling of 10 for a price of 2, the first wave sets more aside than it spends."""
    async with start() as bench:
        ground = ClusterGround(bench, monkeypatch)
        ground.on_claim = never
        budget = "budget: {credits: 30, max_credits_per_job: 10}\n"
        manifest = bench.manifest("{name: t, prompt: text, repeat: 20}", budget=None, head=budget)
        result = await ground.run(manifest, shards=2)
        keys = await check(ground, result)
    assert result.exit_code == 4
    assert len({plan for plan, _ in ground.cluster.rules.shards}) > 1
    assert len(keys) * 2 + 10 > 30


async def test_a_run_that_is_stopped_when_its_shards_have_ended_is_not_divided_again(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        ground = ClusterGround(bench, monkeypatch)
        ground.on_claim = never
        command, source = ControlCommand(ControlAction.STOP), ControlSource("anna@host", "terminal")
        ground.cluster.given = [GivenControl(1, command, source, 1.0)]
        budget = "budget: {credits: 30, max_credits_per_job: 10}\n"
        manifest = bench.manifest("{name: t, prompt: text, repeat: 20}", budget=None, head=budget)
        await ground.run(manifest, shards=2)
    assert len({plan for plan, _ in ground.cluster.rules.shards}) == 1


async def test_a_coordinator_whose_run_another_one_has_merges_nothing(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as bench:
        ground = ClusterGround(bench, monkeypatch)

        async def taken(_claim: ShardClaim) -> bool:
            ground.cluster.epoch += 1
            return False

        ground.on_claim = taken
        with pytest.raises(RunBusyError, match="another coordinator"):
            await ground.run(bench.manifest("{name: t, prompt: text, repeat: 5}", budget=10), shards=1)
        await asyncio.wait(ground.working)
    assert [lease.state for lease in ground.cluster.rules.shards.values()] == [ShardState.ENDED]
    assert ground.cluster.rules.used == Decimal(2)  # of the probe
    with Journal.read(bench.path / "out") as journal:
        outstanding = noted_shards(journal)
    assert outstanding is not None
    assert outstanding.missing == (1,)


class Balances:
    """An observer that keeps the balance of each message that has one, with the message's class."""

    def __init__(self) -> None:
        self.seen: list[tuple[type[object], Balance]] = []

    def notify(self, message: object) -> None:
        if (balance := getattr(message, "balance", None)) is not None:
            self.seen.append((type(message), balance))


async def test_with_a_budget_of_a_period_each_message_has_what_is_set_aside_and_names_it(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on one machine: 100 credits are the budget of all runs of the month, and not of this one."""
    budget = "budget: {credits: 100, per: month, account: studio, max_credits_per_job: 2}\n"
    async with start() as bench:
        ground = ClusterGround(bench, monkeypatch)
        ground.settings = replace(bench.settings, accounts_directory=bench.path / "accounts")
        ground.on_claim = never
        observed = Balances()
        manifest = bench.manifest("{name: t, prompt: text, repeat: 9}", budget=None, head=budget)
        result = await ground.run(manifest, shards=3, observer=observed)
    assert result.ok
    assert {balance.allowance_of for _, balance in observed.seen} == {"studio, this month"}
    assert {balance.budget for _, balance in observed.seen} == {Decimal(18)}
    assert {RunBegan, ShardsAdvanced, RunEnded} < {kind for kind, _ in observed.seen}
    assert observed.seen[-1] == (RunEnded, Balance(Decimal(18), Decimal(18), Decimal(0), "studio, this month"))
