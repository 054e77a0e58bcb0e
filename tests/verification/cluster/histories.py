"""Random histories of a run, played to the pure rules and to the database: both must give the same answers.

Time is the model's: the database's rows are made older by the same amount. Amounts of time are far from the lease's
limit, so that the real time of a test doesn't matter.
"""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

from crucible_batch.cluster import ClusterRun, ShardFigures, ShardKey
from crucible_batch.cluster.connection import ClusterConnection
from crucible_batch.cluster.database import ClusterDatabase
from crucible_batch.domain.shard_lease import FencedAnswer, ShardState
from crucible_batch.domain.sharding import PlannedShard
from tests.lease_model import RunAllowances, ShardLease

LEASE_S = 10_000.0
STEPS_S = (0.0, 4_000.0, 7_000.0, 20_000.0)
PLANS = ("a" * 64, "b" * 64)
SHARDS = 3


class Different(AssertionError):
    """The database and the rules differ."""


class History:
    """One run, in the model and in the database."""

    def __init__(
        self, cluster: ClusterDatabase, connection: ClusterConnection, seed: int, rules: type[ShardLease]
    ) -> None:
        self.rng = random.Random(seed)
        self.cluster, self.connection, self.rules = cluster, connection, rules
        self.run = f"run-{seed}"
        self.model = RunAllowances(Decimal(100))
        self.now = 0.0
        self.epoch = 0
        self.claims = 0
        self.trace: list[str] = []

    async def play(self, steps: int) -> None:
        terms = ClusterRun(
            self.run, "m", "default", "https://gateway.test", "/outputs", self.model.budget, self.model.used
        )
        self.epoch = (await self.cluster.open_run(terms)).epoch
        names = ("add", "claim", "claim", "claim", "renew", "report", "release", "settle", "withdraw", "age", "age")
        if "drain_run" in self.cluster._statements:
            names = (*names, *names, "drain")
        for _ in range(steps):
            name = self.rng.choice(names)
            self.trace.append(name)
            await getattr(self, name)()
            await self.compare()

    async def compare(self) -> None:
        (row,) = await self.cluster.runs(self.run)
        theirs = {
            (key.plan_digest, key.number): (each.state, each.epoch, each.allowance, figures.spent, figures.held)
            for each in await self.cluster.shards(self.run)
            for key, figures in [(each.key, each.figures)]
        }
        ours = {
            key: (each.state, each.epoch, each.allowance, each.spent, each.held)
            for key, each in self.model.shards.items()
        }
        self.same("shards", ours, theirs)
        self.same("used", self.model.used, row.run.used)
        self.same("set aside", self.model.set_aside, row.set_aside)
        self.same("left", self.model.left, row.left)

    def same(self, what: str, ours: object, theirs: object) -> None:
        if ours != theirs:
            raise Different(
                f"{what}: {ours} by the rules, {theirs} by the database; after {' '.join(self.trace[-12:])}"
            )

    def amount(self, most: int) -> Decimal:
        return Decimal(self.rng.randint(0, most * 4)) / 4

    def any_key(self) -> tuple[str, int]:
        return self.rng.choice(PLANS), self.rng.randint(1, SHARDS)

    def some_keys(self) -> list[tuple[str, int]]:
        return self.rng.sample([(plan, n) for plan in PLANS for n in range(1, SHARDS + 1)], self.rng.randint(0, 2))

    def key(self, key: tuple[str, int]) -> ShardKey:
        return ShardKey(self.run, *key)

    async def add(self) -> None:
        plan = self.rng.choice(PLANS)
        numbers = range(1, self.rng.randint(1, SHARDS) + 1)
        known = {n: self.model.shards[plan, n].allowance for n in numbers if (plan, n) in self.model.shards}
        wanted = {n: known.get(n, self.amount(30)) if self.rng.random() < 0.9 else self.amount(30) for n in numbers}
        self.model, answer = self.model.deferred(plan, wanted)
        planned = [PlannedShard(n, 1, 1, amount) for n, amount in wanted.items()]
        theirs = await self.cluster.add_shards(self.run, self.epoch, plan, planned)
        self.same("add", (answer, self.model.left), (theirs.answer, theirs.left))

    async def claim(self) -> None:
        key = self.any_key()
        self.claims += self.rng.random() < 0.8  # else the request is repeated
        theirs = await self.cluster.claim_shard(self.key(key), "w", f"c{self.claims}")
        if key not in self.model.shards:
            self.same("claim", "unknown", theirs.answer)
            return
        lease, answer = self.rules.claimed(self.model.shards[key], f"c{self.claims}", self.now, LEASE_S)
        self.put(key, lease)
        self.same("claim", answer, theirs.answer)
        if answer == "claimed":
            self.same("claim's epoch", (lease.epoch, lease.allowance), (theirs.epoch, theirs.allowance))

    async def renew(self) -> None:
        await self._fenced("renew")

    async def report(self) -> None:
        await self._fenced("report")

    async def release(self) -> None:
        await self._fenced("release")

    async def _fenced(self, name: str) -> None:
        key = self.any_key()
        lease = self.model.shards.get(key)
        epoch = max(0, (lease.epoch if lease else 0) - (self.rng.random() < 0.4))
        spent, held = self.amount(20), self.amount(3)
        figures = ShardFigures(spent, held)
        match name:
            case "renew":
                theirs = await self.cluster.renew_shard(self.key(key), epoch, figures)
            case "report":
                theirs = await self.cluster.report_shard(self.key(key), epoch, "partial", figures)
            case _:
                theirs = await self.cluster.release_shard(self.key(key), epoch, figures)
        if lease is None:
            self.same(name, ours=False, theirs=theirs.counts)
            return
        match name:
            case "renew":
                after, ours = self.rules.renewed(lease, epoch, self.now, spent, held)
            case "report":
                after, ours = self.rules.reported(lease, epoch, spent, held)
            case _:
                after, ours = self.rules.released(lease, epoch, spent, held)
        self.put(key, after)
        self.same(name, ours, theirs)
        if theirs is FencedAnswer.ACCEPTED:
            self.same("epoch", lease.epoch, epoch)

    async def settle(self) -> None:
        keys, used = self.some_keys(), self.amount(60)
        self.model, answer = self.model.settled(used, keys)
        theirs = await self.cluster.settle_run(self.run, self.epoch, used, [self.key(key) for key in keys])
        self.same("settle", (answer, self.model.left), (theirs.answer, theirs.left))

    async def withdraw(self) -> None:
        keys = self.some_keys()
        self.model, answer = self.model.withdrawn(keys)
        theirs = await self.cluster.withdraw_shards(self.run, self.epoch, [self.key(key) for key in keys])
        self.same("withdraw", (answer, self.model.left), (theirs.answer, theirs.left))

    async def drain(self) -> None:
        before = self.model
        self.model = before.drained()
        theirs = await self.cluster.drain_run(self.run)
        changed = [new.state for key, new in self.model.shards.items() if new != before.shards[key]]
        running = sum(each.state is ShardState.RUNNING for each in self.model.shards.values())
        ours = (changed.count(ShardState.WITHDRAWN), changed.count(ShardState.ENDED), running)
        self.same("drain", ours, (theirs.withdrawn, theirs.ended, theirs.running))

    async def age(self) -> None:
        passed = self.rng.choice(STEPS_S)
        self.now += passed
        await self.connection.rows(
            "UPDATE shards SET renewed_at = renewed_at - make_interval(secs => %(passed)s) WHERE run = %(run)s",
            {"passed": passed, "run": self.run},
        )
        stale = await self.connection.rows(
            "SELECT plan_digest, number FROM take_rescue_turn_v1(0, %(lease_s)s, 1e6) WHERE run = %(run)s",
            {"lease_s": LEASE_S, "run": self.run},
        )
        ours = {
            key
            for key, lease in self.model.shards.items()
            if lease.state is ShardState.WAITING
            or (lease.state is ShardState.RUNNING and self.now - lease.renewed_at >= LEASE_S)
        }
        self.same("rescued", ours, {(row["plan_digest"], row["number"]) for row in stale})

    def put(self, key: tuple[str, int], lease: ShardLease) -> None:
        self.model = replace(self.model, shards={**self.model.shards, key: lease})
