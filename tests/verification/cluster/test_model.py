"""The database in memory of ``tests/verification/fleet`` answers as the SQL functions do, in random histories."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Any

import pytest

from crucible_batch.cluster import ClusterAddress, ClusterRun, ShardFigures, ShardKey
from crucible_batch.cluster.connection import ClusterConnection
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.domain.sharding import PlannedShard
from tests.slow_cases import quick_where
from tests.verification.cluster.histories import LEASE_S, PLANS, SHARDS, STEPS_S
from tests.verification.cluster.test_histories import function_text
from tests.verification.fleet.database import NAMES, RuleConnection, RuleDatabase

RUNS = ("one", "two")
WORKERS = ("w1", "w2")
_SHIFT = {
    "runs": ("created_at", "renewed_at", "ended_at"),
    "shards": ("waiting_since", "renewed_at", "claimed_at", "ended_at"),
    "workers": ("started_at", "seen_at", "draining_since"),
    "turns": ("at",),
    "deadlines": ("at",),
}
_REAL_S = 1_000.0
"""Ages may differ by this: the time that the test itself takes. The steps of a history are longer."""
CALLS = (
    "open_run", "renew_run", "close_run", "add_shards", "add_shards", "settle_run", "withdraw_shards",
    "claim_shard", "claim_shard", "claim_shard", "claim_shard", "renew_shard", "renew_shard", "report_shard",
    "release_shard", "see_worker", "forget_worker", "take_rescue_turn", "drain", "set_deadline", "age", "age",
)  # fmt: skip


class Twins:
    """A database of each kind, and the calls that both get."""

    def __init__(self, real: ClusterDatabase, connection: ClusterConnection, seed: int) -> None:
        self.chance = random.Random(seed)
        self.connection, self.now = connection, 0.0
        self.model = RuleDatabase(lambda: self.now)
        address = connection.address
        ours = ClusterDatabase(RuleConnection(address, self.model), statements=NAMES, lease_s=LEASE_S)
        self.both = (ours, real)
        self.epochs: dict[str, int] = {}
        self.shards: dict[ShardKey, int] = {}
        self.claims = 0
        self.trace: list[str] = []

    async def play(self, steps: int) -> None:
        for _ in range(steps):
            name = self.chance.choice(CALLS)
            if name == "age":
                await self.age()
            else:
                answer = await self.same(name, *self.arguments(name))
                if name == "open_run":
                    self.epochs[answer.run] = answer.epoch
                elif name == "claim_shard" and answer.epoch:
                    self.shards[answer.key] = answer.epoch
            await self.same("runs")
            for run in (None, *RUNS):
                await self.same("shards", run)
            for run in RUNS:
                await self.same("deadline", run)
            await self.same("workers")

    async def same(self, name: str, *arguments: Any) -> Any:
        self.trace.append(name)
        self.now += 0.001  # no two rows of the real one have the same time
        ours, theirs = [await getattr(each, name)(*arguments) for each in self.both]
        assert alike(ours, theirs), f"{ours} by the model, {theirs} by the database; after {' '.join(self.trace[-9:])}"
        return ours

    def arguments(self, name: str) -> tuple[Any, ...]:
        chance, run = self.chance, self.chance.choice(RUNS)
        key = ShardKey(run, chance.choice(PLANS), chance.randint(1, SHARDS))
        some = [ShardKey(run, plan, 1) for plan in chance.sample(PLANS, chance.randint(0, 2))]
        epoch = max(0, self.epochs.get(run, 0) - (chance.random() < 0.15))
        mine = max(0, self.shards.get(key, 0) - (chance.random() < 0.3))
        figures = ShardFigures(self.amount(20), self.amount(3), *(chance.randint(0, 3) for _ in range(5)))
        self.claims += chance.random() < 0.8
        worker = chance.choice(WORKERS)
        match name:
            case "open_run":
                manifest = "m" if chance.random() < 0.95 else "another"
                terms = ClusterRun(run, manifest, "default", "https://g.test", "/o", Decimal(100), self.amount(20))
                return terms, f"c{self.claims}"
            case "renew_run" | "close_run":
                return run, epoch
            case "set_deadline":
                return run, epoch, chance.choice((None, 0.0, 5_000.0))
            case "add_shards":
                planned = [PlannedShard(n, n, 1, Decimal(7 * n)) for n in range(1, chance.randint(1, SHARDS) + 1)]
                return run, epoch, key.plan_digest, planned
            case "settle_run":
                return run, epoch, self.amount(60), some
            case "withdraw_shards":
                return run, epoch, some
            case "claim_shard":
                return key, worker, f"c{self.claims}"
            case "renew_shard" | "release_shard":
                return key, mine, figures
            case "report_shard":
                return key, mine, "partial", figures
            case "see_worker":
                return worker, worker[:1], "1"
            case "forget_worker":
                return (worker,)
            case "drain":
                return (["w"] if chance.random() < 0.3 else [],)
            case _:
                return (chance.choice((0.0, 5_000.0)),)

    def amount(self, most: int) -> Decimal:
        return Decimal(self.chance.randint(0, most * 4)) / 4

    async def age(self) -> None:
        passed = self.chance.choice(STEPS_S)
        self.now += passed
        for table, columns in _SHIFT.items():
            moved = ", ".join(f"{name} = {name} - make_interval(secs => %(passed)s)" for name in columns)
            await self.connection.rows(f"UPDATE {table} SET {moved}", {"passed": passed})


def alike(ours: Any, theirs: Any) -> bool:
    """Whether two answers are equal, except for the ages in them."""
    if isinstance(ours, (list, tuple)):
        return len(ours) == len(theirs) and all(map(alike, ours, theirs))
    if isinstance(ours, float) and isinstance(theirs, float):  # the time until a deadline
        return abs(ours - theirs) < _REAL_S
    if not is_dataclass(ours):
        return bool(ours == theirs)
    for each in fields(ours):
        one, other = getattr(ours, each.name), getattr(theirs, each.name)
        if not alike(one, other):
            return False
    return True


async def play(address: ClusterAddress, seeds: Sequence[int], steps: int) -> None:
    for seed in seeds:
        connection = ClusterConnection(address)
        try:
            await connection.rows("TRUNCATE runs, shards, workers CASCADE; UPDATE turns SET at = '-infinity'")
            await Twins(ClusterDatabase(connection, lease_s=LEASE_S), connection, seed).play(steps)
        finally:
            await connection.close()


@pytest.mark.parametrize("seeds", [range(3), range(3, 6)], ids=str)
async def test_the_model_answers_as_the_database_does(address: ClusterAddress, seeds: Sequence[int]) -> None:
    await play(address, seeds, 150)


# What histories.py does not play. Each bug: the function, the text of it, and what replaces it.
BUGS = {
    "a coordinator is replaced while it is alive": (
        "open_run_v1", "present.renewed_at > clock_timestamp()", "present.renewed_at > 'infinity'::timestamptz",
    ),
    "a coordinator gets no epoch": ("open_run_v1", "r.epoch + (r.claim <> p_claim)::integer", "greatest(r.epoch, 1)"),
    "another coordinator settles": ("lock_run_v1", "present.epoch <> p_epoch", "false"),
    "a coordinator that was replaced renews": ("renew_run_v1", "AND r.epoch = p_epoch", ""),
    "a run is ended by another coordinator": ("close_run_v1", "AND r.epoch = p_epoch", ""),
    "a deadline is later": ("set_deadline_v1", "secs => p_left_s", "secs => 2 * p_left_s"),
    "a worker that drains claims": ("claim_shard_v2", "w.draining_since IS NOT NULL", "false"),
    "each worker has the turn to rescue": ("take_rescue_turn_v1", "t.name = 'rescue' AND", "t.name = 'rescue' OR"),
}  # fmt: skip


@pytest.mark.parametrize("bug", quick_where(BUGS, lambda bug: bug == "a coordinator gets no epoch"))
async def test_a_bug_in_the_database_is_noticed(address: ClusterAddress, bug: str) -> None:
    name, old, new = BUGS[bug]
    text = function_text(name)
    assert old in text
    connection = ClusterConnection(address)
    await connection.rows(text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION").replace(old, new))
    await connection.close()
    with pytest.raises(AssertionError, match="by the model"):
        await play(address, range(100, 110), 150)
