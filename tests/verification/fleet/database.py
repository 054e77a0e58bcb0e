"""The database of a cluster by the rules of ``domain/shard_lease.py``, in memory.

Shards and allowances are those of ``tests/lease_model.py``. What only the SQL functions have, the coordinator's lease,
workers and the turn to rescue, is written here once more, and ``tests/verification/cluster/test_model.py`` plays
random histories to both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from psycopg.rows import DictRow

from crucible_batch.cluster import ClusterAddress
from crucible_batch.cluster.connection import CALL_S, ClusterConnection
from crucible_batch.cluster.statements import STATEMENTS
from crucible_batch.domain.credits import Credits
from crucible_batch.domain.shard_lease import AllowanceAnswer, ClaimAnswer, FencedAnswer, ShardState, is_stale
from tests.lease_model import RunAllowances, ShardLease

NAMES = {name: name for name in STATEMENTS}
"""The statements of a ``ClusterDatabase`` on this database: their names."""
_METHODS = {"runs": "_runs_rows", "workers": "_workers_rows"}
_COUNTED = ("succeeded", "failed", "blocked", "pending", "unknown")

_OPEN = (ShardState.WAITING, ShardState.RUNNING)

Watch = Callable[[str, Mapping[str, Any], list[DictRow]], None]


@dataclass(slots=True)
class _Shard:
    """What a shard's row has beside its lease."""

    jobs: int
    admitted: int
    waiting_since: float
    worker: str | None = None
    claimed_at: float | None = None
    renewed_at: float | None = None
    ended_at: float | None = None
    ending: str | None = None
    counts: tuple[int, ...] = (0, 0, 0, 0, 0)


@dataclass(slots=True)
class _Run:
    terms: Mapping[str, Any]
    allowances: RunAllowances
    created_at: float
    epoch: int = 0
    claim: str = ""
    location: str = ""
    renewed_at: float | None = None
    ended_at: float | None = None
    late_at: float | None = None
    shards: dict[tuple[str, int], _Shard] = field(default_factory=dict)


@dataclass(slots=True)
class _Worker:
    name: str
    release: str
    started_at: float
    seen_at: float
    draining_since: float | None = None


class RuleDatabase:
    """All rows. ``now`` is the server's clock, in seconds; ``watch`` is told of each statement and its answer."""

    def __init__(
        self,
        now: Callable[[], float],
        watch: Watch = lambda _name, _values, _rows: None,
        rules: type[ShardLease] = ShardLease,
    ) -> None:
        self._now = now
        self._watch = watch
        self._rules = rules
        self._runs: dict[str, _Run] = {}
        self._workers: dict[str, _Worker] = {}
        self._turn_at = float("-inf")

    def answer(self, name: str, values: Mapping[str, Any]) -> list[DictRow]:
        """Execute a statement and return its rows."""
        rows: list[DictRow] = getattr(self, _METHODS.get(name, f"_{name}"))(**values)
        self._watch(name, values, rows)
        return rows

    def allowances(self, run: str) -> RunAllowances:
        return self._runs[run].allowances

    # -- a coordinator ------------------------------------------------------------------------------------------------

    def _open_run(self, run: str, claim: str, lease_s: float, **terms: Any) -> list[DictRow]:
        now = self._now()
        found = self._runs.get(run)
        if found is None:
            found = self._runs[run] = _Run(terms, RunAllowances(terms["budget"], terms["used"]), now)
        if any(found.terms[name] != terms[name] for name in ("manifest", "run_id", "gateway")):
            return [self._claimed_run(found, "conflict")]
        is_alive = found.renewed_at is not None and not is_stale(found.renewed_at, now, lease_s)
        if claim != found.claim and found.claim and found.ended_at is None and is_alive:
            return [self._claimed_run(found, "held")]
        found.epoch += claim != found.claim
        found.claim, found.location, found.renewed_at, found.ended_at = claim, terms["location"], now, None
        found.allowances = replace(found.allowances, budget=terms["budget"], used=terms["used"])
        return [self._claimed_run(found, "claimed")]

    @staticmethod
    def _claimed_run(run: _Run, answer: str) -> DictRow:
        return {"answer": answer, "epoch": run.epoch, "remaining": run.allowances.left}

    def _renew_run(self, run: str, epoch: int) -> list[DictRow]:
        found = self._runs.get(run)
        if found is None or found.epoch != epoch or found.ended_at is not None:
            return [{"answer": FencedAnswer.SUPERSEDED}]
        found.renewed_at = self._now()
        return [{"answer": FencedAnswer.ACCEPTED}]

    def _close_run(self, run: str, epoch: int) -> list[DictRow]:
        found = self._runs.get(run)
        if found is None or found.epoch != epoch:
            return [{"answer": FencedAnswer.SUPERSEDED}]
        found.ended_at = self._now() if found.ended_at is None else found.ended_at
        return [{"answer": FencedAnswer.ACCEPTED}]

    def _fenced(
        self, run: str, epoch: int, act: Callable[[_Run], tuple[RunAllowances, AllowanceAnswer]]
    ) -> list[DictRow]:
        found = self._runs.get(run)
        if found is None:
            return [{"answer": AllowanceAnswer.UNKNOWN, "remaining": None}]
        answer = AllowanceAnswer.SUPERSEDED
        if found.epoch == epoch:
            found.allowances, answer = act(found)
        return [{"answer": answer, "remaining": found.allowances.left}]

    def _add_shards(
        self, run: str, epoch: int, digest: str, numbers: list[int], jobs: list[int], admitted: list[int],
        allowances: list[Credits],
    ) -> list[DictRow]:  # fmt: skip
        def act(found: _Run) -> tuple[RunAllowances, AllowanceAnswer]:
            after, answer = found.allowances.deferred(digest, dict(zip(numbers, allowances, strict=True)))
            if answer is AllowanceAnswer.ACCEPTED:
                for number, count, of_them in zip(numbers, jobs, admitted, strict=True):
                    found.shards.setdefault((digest, number), _Shard(count, of_them, self._now()))
            return after, answer

        return self._fenced(run, epoch, act)

    def _settle_run(self, run: str, epoch: int, used: Credits, digests: list[str], numbers: list[int]) -> list[DictRow]:
        keys = list(zip(digests, numbers, strict=True))
        return self._fenced(run, epoch, lambda found: found.allowances.settled(used, keys))

    def _set_deadline(self, run: str, epoch: int, left_s: float | None) -> list[DictRow]:
        def act(found: _Run) -> tuple[RunAllowances, AllowanceAnswer]:
            found.late_at = None if left_s is None else self._now() + left_s
            return found.allowances, AllowanceAnswer.ACCEPTED

        return [{"answer": row["answer"]} for row in self._fenced(run, epoch, act)]

    def _deadline(self, run: str) -> list[DictRow]:
        found = self._runs.get(run)
        return [] if found is None or found.late_at is None else [{"left_s": found.late_at - self._now()}]

    def _withdraw_shards(self, run: str, epoch: int, digests: list[str], numbers: list[int]) -> list[DictRow]:
        keys = list(zip(digests, numbers, strict=True))

        def act(found: _Run) -> tuple[RunAllowances, AllowanceAnswer]:
            after, answer = found.allowances.withdrawn(keys)
            if answer is AllowanceAnswer.ACCEPTED:
                for key in keys:
                    row = found.shards[key]
                    row.ended_at = self._now() if row.ended_at is None else row.ended_at
            return after, answer

        return self._fenced(run, epoch, act)

    # -- a worker -----------------------------------------------------------------------------------------------------

    def _lease(self, run: str, digest: str, number: int) -> tuple[_Run, ShardLease, _Shard] | None:
        found = self._runs.get(run)
        if found is None or (digest, number) not in found.shards:
            return None
        return found, found.allowances.shards[digest, number], found.shards[digest, number]

    @staticmethod
    def _put(run: _Run, key: tuple[str, int], lease: ShardLease) -> None:
        run.allowances = replace(run.allowances, shards={**run.allowances.shards, key: lease})

    def _claim_shard(
        self, run: str, digest: str, number: int, claim: str, worker: str, lease_s: float
    ) -> list[DictRow]:
        nothing = {"epoch": 0, "allowance": None, "location": None, "gateway": None}
        if worker in self._workers and self._workers[worker].draining_since is not None:
            return [{"answer": ClaimAnswer.DRAINING, **nothing}]
        found = self._lease(run, digest, number)
        if found is None:
            return [{"answer": ClaimAnswer.UNKNOWN, **nothing}]
        owner, lease, row = found
        after, answer = self._rules.claimed(lease, claim, self._now(), lease_s)
        if answer is ClaimAnswer.CLAIMED:
            self._put(owner, (digest, number), after)
            row.renewed_at = self._now()
            if lease.state is not ShardState.RUNNING or lease.claim != claim:
                row.worker, row.claimed_at = worker, self._now()
        place = {"location": owner.location, "gateway": owner.terms["gateway"]}
        return [{"answer": answer, "epoch": after.epoch, "allowance": after.allowance, **place}]

    def _renew_shard(self, run: str, digest: str, number: int, epoch: int, **figures: Any) -> list[DictRow]:
        found = self._lease(run, digest, number)
        if found is None:
            return [{"answer": FencedAnswer.SUPERSEDED}]
        owner, lease, row = found
        after, answer = self._rules.renewed(lease, epoch, self._now(), figures["spent"], figures["held"])
        self._put(owner, (digest, number), after)
        if answer is FencedAnswer.ACCEPTED:
            row.counts, row.renewed_at = tuple(figures["counts"]), self._now()
        return [{"answer": answer}]

    def _report_shard(
        self, run: str, digest: str, number: int, epoch: int, ending: str, **figures: Any
    ) -> list[DictRow]:
        found = self._lease(run, digest, number)
        if found is None:
            return [{"answer": FencedAnswer.UNKNOWN}]
        owner, lease, row = found
        after, answer = self._rules.reported(lease, epoch, figures["spent"], figures["held"])
        self._put(owner, (digest, number), after)
        if answer is FencedAnswer.ACCEPTED:
            row.counts, row.ended_at, row.ending = tuple(figures["counts"]), self._now(), ending
        return [{"answer": answer}]

    def _release_shard(self, run: str, digest: str, number: int, epoch: int, **figures: Any) -> list[DictRow]:
        found = self._lease(run, digest, number)
        if found is None:
            return [{"answer": FencedAnswer.UNKNOWN}]
        owner, lease, row = found
        after, answer = self._rules.released(lease, epoch, figures["spent"], figures["held"])
        self._put(owner, (digest, number), after)
        if answer is FencedAnswer.ACCEPTED:
            row.counts, row.waiting_since = tuple(figures["counts"]), self._now()
        return [{"answer": answer}]

    def _see_worker(self, worker: str, name: str, release: str) -> list[DictRow]:
        now = self._now()
        found = self._workers.setdefault(worker, _Worker(name, release, now, now))
        found.name, found.release, found.seen_at = name, release, now
        return [{"draining": found.draining_since is not None}]

    def _forget_worker(self, worker: str) -> list[DictRow]:
        self._workers.pop(worker, None)
        return []

    def _take_rescue_turn(self, interval_s: float, lease_s: float, forget_s: float) -> list[DictRow]:
        now = self._now()
        if self._turn_at > now - interval_s:
            return []
        self._turn_at = now
        self._workers = {key: each for key, each in self._workers.items() if each.seen_at >= now - forget_s}
        free = [
            (row.waiting_since, name, *key)
            for name, run in self._runs.items()
            for key, row in run.shards.items()
            for lease in [run.allowances.shards[key]]
            if lease.state is ShardState.WAITING
            or (lease.state is ShardState.RUNNING and is_stale(lease.renewed_at, now, lease_s))
        ]
        return [{"run": run, "plan_digest": digest, "number": number} for _, run, digest, number in sorted(free)]

    # No commands are given in these stories: they are asked for as in all others.

    def _controls(self, run: str, after: int) -> list[DictRow]:
        return []

    def _take_controls(self, **_given: Any) -> list[DictRow]:
        return []

    def _forget_taker(self, run: str, epoch: int) -> list[DictRow]:
        return []

    # -- an operator --------------------------------------------------------------------------------------------------

    def _drain_workers(self, names: list[str] | None) -> list[DictRow]:
        chosen = [(key, each) for key, each in self._workers.items() if names is None or each.name in names]
        for _, each in chosen:
            each.draining_since = self._now() if each.draining_since is None else each.draining_since
        return [{"worker": key, "name": each.name} for key, each in chosen]

    def _age(self, at: float | None) -> float | None:
        return None if at is None else self._now() - at

    def _runs_by_age(self) -> list[tuple[str, _Run]]:
        return sorted(self._runs.items(), key=lambda item: (-item[1].created_at, item[0]))

    def _runs_rows(self, run: str | None) -> list[DictRow]:
        return [
            {
                **{name: each.terms[name] for name in ("manifest", "run_id", "gateway")},
                "run": name,
                "location": each.location,
                "budget": each.allowances.budget,
                "used": each.allowances.used,
                "epoch": each.epoch,
                "remaining": each.allowances.left,
                "set_aside": each.allowances.set_aside,
                "age_s": self._age(each.created_at),
                "renewed_age_s": self._age(each.renewed_at),
                "ended_age_s": self._age(each.ended_at),
            }
            for name, each in self._runs_by_age()
            if run is None or name == run
        ]

    def _shards(self, run: str | None) -> list[DictRow]:
        rows: list[DictRow] = []
        for name, each in self._runs_by_age():
            may_run = any(lease.state in _OPEN for lease in each.allowances.shards.values())
            if name == run or (run is None and (each.ended_at is None or may_run)):
                ordered = sorted(each.shards.items(), key=lambda item: (item[1].waiting_since, *item[0]))
                rows += [self._shard_row(name, key, each.allowances.shards[key], row) for key, row in ordered]
        return rows

    def _shard_row(self, run: str, key: tuple[str, int], lease: ShardLease, row: _Shard) -> DictRow:
        return {
            "run": run,
            "plan_digest": key[0],
            "number": key[1],
            "jobs": row.jobs,
            "admitted": row.admitted,
            "allowance": lease.allowance,
            "state": lease.state,
            "epoch": lease.epoch,
            "worker": row.worker,
            "ending": row.ending,
            "spent": lease.spent,
            "held": lease.held,
            **dict(zip(_COUNTED, row.counts, strict=True)),
            "waiting_age_s": self._age(row.waiting_since),
            "claimed_age_s": self._age(row.claimed_at),
            "renewed_age_s": self._age(row.renewed_at),
            "ended_age_s": self._age(row.ended_at),
        }

    def _workers_rows(self) -> list[DictRow]:
        running: dict[str | None, int] = {}
        for run in self._runs.values():
            for key, row in run.shards.items():
                if run.allowances.shards[key].state is ShardState.RUNNING:
                    running[row.worker] = running.get(row.worker, 0) + 1
        return [
            {
                "worker": key,
                "name": each.name,
                "release": each.release,
                "age_s": self._age(each.started_at),
                "seen_age_s": self._age(each.seen_at),
                "draining_age_s": self._age(each.draining_since),
                "shards": running.get(key, 0),
            }
            for key, each in sorted(self._workers.items(), key=lambda item: (item[1].name, item[0]))
        ]


class RuleConnection(ClusterConnection):
    """A connection to a ``RuleDatabase``. ``carry`` takes a call there and back, and may lose it."""

    def __init__(
        self,
        address: ClusterAddress,
        database: RuleDatabase,
        *,
        patience_s: float = 0.0,
        carry: Callable[[Callable[[], list[DictRow]]], Awaitable[list[DictRow]]] | None = None,
    ) -> None:
        super().__init__(address, patience_s=patience_s)
        self._database = database
        self._carry = carry

    async def _try(self, statement: str, values: Mapping[str, object] | None) -> list[DictRow]:
        def call() -> list[DictRow]:
            return self._database.answer(statement, values or {})

        if self._carry is None:
            return call()
        async with asyncio.timeout(CALL_S):
            return await self._carry(call)
