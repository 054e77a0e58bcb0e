"""What a coordinator tells the database of a cluster, and what stops it. No database, and no run."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crucible_batch.api.cancellation import Deadline
from crucible_batch.api.cluster import coordinator
from crucible_batch.api.cluster import run as cluster_run
from crucible_batch.api.cluster.coordinator import CoordinatorClaim, CoordinatorPace
from crucible_batch.cluster import AllowanceResult, ClusterRun, QueuedShard, RunClaim, ShardKey
from crucible_batch.domain.outcome import RunStatus
from crucible_batch.domain.shard_lease import AllowanceAnswer, FencedAnswer, ShardState
from crucible_batch.domain.sharding import OutstandingShards, PlannedShard
from crucible_batch.errors import ClusterSetupError, JournalError, RunBusyError
from crucible_batch.settings import Settings

D = Decimal
PLAN, EARLIER = "ab" * 32, "cd" * 32
SHARDS = (PlannedShard(1, 5, 5, D(10)), PlannedShard(2, 5, 5, D(10)))


def shard(
    number: int, state: ShardState, *, plan: str = PLAN, epoch: int = 1, ending: str | None = None
) -> QueuedShard:
    key = ShardKey("run", plan, number)
    return QueuedShard(key, 5, 5, D(10), state, epoch, None, 1.0, None, None, None, ending)


@dataclass
class Database:
    """A database that answers as told, and what it was told."""

    rows: list[QueuedShard] = field(default_factory=list)
    allowance: AllowanceAnswer = AllowanceAnswer.ACCEPTED
    renewal: FencedAnswer = FencedAnswer.ACCEPTED
    opening: str = "claimed"
    opened: list[ClusterRun] = field(default_factory=list)
    settled: list[tuple[Decimal, set[ShardKey]]] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    address: object = None

    async def open_run(self, run: ClusterRun, _claim: str) -> RunClaim:
        self.opened.append(run)
        return RunClaim(run.run, self.opening, 4, D(0))

    async def renew_run(self, _run: str, epoch: int) -> FencedAnswer:
        assert epoch == 4
        return self.renewal

    async def shards(self, _run: str) -> list[QueuedShard]:
        return self.rows

    async def add_shards(self, *_: object) -> AllowanceResult:
        return AllowanceResult(self.allowance, D(0))

    async def settle_run(self, _run: str, _epoch: int, used: Decimal, merged: Collection[ShardKey]) -> AllowanceResult:
        self.settled.append((used, set(merged)))
        return AllowanceResult(self.allowance, D(0))

    async def set_deadline(self, *_: object) -> None:
        """Deadlines are tested in test_cluster_deadline.py."""

    async def close_run(self, _run: str, epoch: int) -> FencedAnswer:
        self.closed.append(epoch)
        return FencedAnswer.ACCEPTED


class Coordinator(cluster_run._Coordinator):
    """A coordinator whose run directory has used 7 credits, with two shards outstanding."""

    def __init__(self, database: Database, outstanding: OutstandingShards | None = None) -> None:
        self.database: Any = database
        self.context: Any = SimpleNamespace(
            request=SimpleNamespace(
                html=True, manifest=Path("spring.yaml"), shards=2, job_filter=SimpleNamespace(retry_failed=False)
            ),
            settings=Settings(None, base_url="https://gateway.test/"),
            deadline=Deadline(None),
            is_late=False,
            main=Path("/main"),
        )
        self._url, self._is_stopped, self._has_probed, self._wave = None, False, False, 1
        self._progress: Any = SimpleNamespace(begin=lambda: None, end=lambda: None)
        self.pace = CoordinatorPace(poll_s=0.0, lease_s=-1.0)
        self._main = Path("/main")
        self._claim = CoordinatorClaim(self.database, self.context, self.pace, "c", "run", 4)
        self._terms: Any = SimpleNamespace(manifest_name="spring", run_id="default", budget=D(100))
        self.outstanding = outstanding
        self.used = [D(7)]

    def _outstanding(self) -> OutstandingShards | None:
        return self.outstanding

    def _committed(self) -> Decimal:
        return self.used.pop(0) if len(self.used) > 1 else self.used[0]


def outstanding(*merged: int, **more: Any) -> OutstandingShards:
    return OutstandingShards(PLAN, {1: D(10), 2: D(10)}, merged=frozenset(merged), **more)


def plan(digest: str = PLAN) -> Any:
    head = SimpleNamespace(shards=SHARDS)
    return SimpleNamespace(digest=digest, head=head, path=Path("/main/shards/abababab/plan.json"))


async def test_a_shard_is_settled_once_the_journal_has_it_and_not_when_it_has_ended() -> None:
    """From then on the database doesn't count what it spent: the run's own figure has to."""
    rows = [
        shard(1, ShardState.ENDED), shard(2, ShardState.ENDED), shard(1, ShardState.ENDED, plan=EARLIER),
        shard(2, ShardState.WITHDRAWN, plan=EARLIER, epoch=0),
    ]  # fmt: skip
    for merged, settled in ((), set()), ((1,), {rows[0].key}), ((1, 2), {rows[0].key, rows[1].key}):
        database = Database(rows)
        await Coordinator(database, outstanding(*merged))._settle()
        assert database.settled == [(D(7), {rows[2].key, *settled})]


@pytest.mark.parametrize("answer", [each for each in FencedAnswer if not each.counts])
async def test_a_claim_that_is_not_renewed_ends_the_coordinator(answer: FencedAnswer) -> None:
    database = Database(renewal=answer)
    with pytest.raises(RunBusyError, match="another coordinator has taken the run"):
        await Coordinator(database)._claim.renew()
    await Coordinator(replace(database, renewal=FencedAnswer.ACCEPTED))._claim.renew()


async def test_a_settlement_that_is_refused_ends_the_coordinator() -> None:
    with pytest.raises(RunBusyError):
        await Coordinator(Database(allowance=AllowanceAnswer.SUPERSEDED), outstanding())._settle()


@pytest.mark.parametrize("answer", [each for each in AllowanceAnswer if each is not AllowanceAnswer.ACCEPTED])
async def test_nothing_is_queued_if_the_allowances_are_not_set_aside(
    monkeypatch: pytest.MonkeyPatch, answer: AllowanceAnswer
) -> None:
    queued = queue(monkeypatch)
    with pytest.raises(ClusterSetupError, match="allowances"):
        await Coordinator(Database([shard(1, ShardState.WAITING)], answer))._claim.queue(plan())
    assert queued == []


async def test_the_shards_of_the_plan_that_wait_are_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    queued = queue(monkeypatch)
    rows = [shard(1, ShardState.RUNNING), shard(2, ShardState.WAITING), shard(1, ShardState.WAITING, plan=EARLIER)]
    await Coordinator(Database(rows))._claim.queue(plan())
    assert queued == [rows[1].key]


def queue(monkeypatch: pytest.MonkeyPatch) -> list[ShardKey]:
    queued: list[ShardKey] = []

    class Queue:
        def __init__(self, _address: object, *, lease_s: float) -> None:
            """There is no database."""

        async def __aenter__(self) -> Queue:
            return self

        async def __aexit__(self, *_exc: object) -> None:
            """Nothing to close."""

        async def defer(self, keys: Iterable[ShardKey]) -> int:
            queued.extend(keys)
            return len(queued)

    monkeypatch.setattr(coordinator, "ShardQueue", Queue)
    return queued


@pytest.mark.parametrize(
    ("noted", "budget"),
    [
        (None, D(100)),
        (outstanding(budget=D(30)), D(100)),
        (outstanding(budget=D(30), account="studio"), D(30)),  # what was set aside of the period
    ],
)
async def test_a_run_is_opened_with_its_budget_and_what_it_has_used(
    monkeypatch: pytest.MonkeyPatch, noted: OutstandingShards | None, budget: Decimal
) -> None:
    monkeypatch.setattr(cluster_run, "note_run_in_cluster", lambda _main, *, now: "run")
    database = Database()
    made = Coordinator(database, noted)
    made._claim.epoch = 0
    await made._open()
    await made._open()  # it has it already
    assert [(run.budget, run.used, run.gateway) for run in database.opened] == [(budget, D(7), "https://gateway.test")]
    assert made._claim.epoch == 4


@pytest.mark.parametrize(("answer", "error"), [("held", RunBusyError), ("conflict", ClusterSetupError)])
async def test_a_run_that_is_not_granted_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, answer: str, error: type[Exception]
) -> None:
    monkeypatch.setattr(cluster_run, "note_run_in_cluster", lambda _main, *, now: "run")
    made = Coordinator(Database(opening=answer))
    made._claim.epoch = 0
    with pytest.raises(error):
        await made._open()
    assert made._claim.epoch == 0


@pytest.mark.parametrize(
    ("endings", "used", "waves"),
    [
        ([RunStatus.BLOCKED], [7, 9, 9, 9], 2),  # the second wave has bought nothing
        ([RunStatus.BLOCKED, "refused"], [7, 9, 11], 1),
        ([RunStatus.INTERRUPTED], [7, 9, 11], 1),
        ([RunStatus.PARTIAL, RunStatus.SUCCEEDED], [7, 7], 1),
    ],
)
async def test_another_wave_follows_only_a_clean_one_that_has_bought_something(
    monkeypatch: pytest.MonkeyPatch, endings: list[str], used: list[int], waves: int
) -> None:
    made = Coordinator(Database(), outstanding())
    made.used = [D(amount) for amount in used]
    finished: list[object] = []

    async def divided() -> object:
        return plan()

    async def finish(found: object) -> object:
        finished.append(found)
        return "result", frozenset(map(str, endings))

    monkeypatch.setattr(cluster_run, "noted_run_in_cluster", lambda _main: None)
    for name, value in {"_divided": divided, "_finish": finish}.items():
        monkeypatch.setattr(made, name, value, raising=False)
    for name in ("wave_ended", "ended"):
        monkeypatch.setattr(cluster_run, name, passed_on)
    monkeypatch.setattr(Coordinator, "_may_divide_more", staticmethod(lambda _result: len(finished) < 9))
    found: object = await made.run()
    assert found == "result"
    assert len(finished) == waves
    assert made.database.closed == [4]


async def passed_on(_context: object, result: object) -> object:
    return result


async def test_a_run_is_closed_in_the_database_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_main: Path) -> str:
        raise JournalError("damaged")

    monkeypatch.setattr(cluster_run, "noted_run_in_cluster", broken)
    database = Database()
    with pytest.raises(JournalError):
        await Coordinator(database).run()
    assert database.closed == [4]


async def test_a_plan_that_is_not_the_outstanding_one_is_not_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder has the first letters of the digest only."""
    made = Coordinator(Database(), outstanding())
    monkeypatch.setattr(Coordinator, "_is_named", lambda _self, _digest: True)
    monkeypatch.setattr(cluster_run, "publish_wave", lambda main, *_: main)
    monkeypatch.setattr(cluster_run, "read_saved_plan", lambda _path: plan(PLAN[:8] + "0" * 56))
    with pytest.raises(JournalError, match="is not the plan whose shards are outstanding"):
        await made._divided()
    assert made._wave == 1
