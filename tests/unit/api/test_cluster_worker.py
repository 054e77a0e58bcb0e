"""A worker of a cluster: which shards it takes, from when their leases count, and what ends it. No database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crucible_batch.api.cluster import worker as cluster_worker
from crucible_batch.api.cluster.worker import MOST_CLAIMS, WorkerPace, _Worker, run_worker
from crucible_batch.cluster import ClaimedShard, ShardFigures, ShardKey
from crucible_batch.domain.shard_lease import ClaimAnswer, ShardState
from crucible_batch.errors import ClusterSetupError, ClusterUnreachableError

KEY = ShardKey("run", "ab" * 32, 3)
CLAIMED = ClaimedShard(KEY, ClaimAnswer.CLAIMED, 2, Decimal(10), "/outputs", "https://gateway.test")


@dataclass
class Ground:
    """A worker whose database answers as told. ``worked`` has the shards that it has run, and from when they count."""

    answer: ClaimedShard | Exception = CLAIMED
    error: Exception | None = None
    is_draining: bool = False
    is_forgotten: bool = False
    states: list[ShardState] = field(default_factory=list)
    figures: ShardFigures = field(default_factory=ShardFigures)
    reads: int = 0
    now: float = 100.0
    worked: list[tuple[ClaimedShard, float]] = field(default_factory=list)
    known: list[ShardFigures] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def claim_shard(self, key: ShardKey, _worker: str) -> ClaimedShard:
        assert key == KEY
        self.now += 9.0  # the database took effect at once, and its answer was late
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def release_shard(self, key: ShardKey, epoch: int, figures: object) -> None:
        assert isinstance(self.answer, ClaimedShard)
        assert (key, epoch, figures) == (KEY, self.answer.epoch, self.figures)
        self.answer = replace(self.answer, epoch=epoch + 1)  # as the next claim raises it

    async def deadline(self, _run: str) -> None:
        """No deadline: those are tested in test_cluster_shard.py."""

    async def see_worker(self, *_: object) -> bool:
        return self.is_draining

    async def forget_worker(self, _worker: str) -> None:
        self.is_forgotten = True

    async def shards(self, run: str | None = None) -> list[Any]:
        if run is None:
            return [SimpleNamespace(state=state) for state in self.states]
        self.reads += 1
        others = (ShardKey(run, KEY.plan_digest, 2), ShardKey(run, "cd" * 32, KEY.number))
        other = ShardFigures(Decimal(99))
        return [
            *(SimpleNamespace(key=key, figures=other) for key in others),
            SimpleNamespace(key=KEY, figures=self.figures),
        ]

    async def waiting(self) -> int:
        """The tasks in the queue: a shard that was returned has none for a while."""
        return 0

    def worker(self, *, once: bool = False) -> Any:
        tools: Any = SimpleNamespace(heartbeats=self, reports=self)
        return _Worker(tools, self.stop, once=once, pace=WorkerPace(renew_s=0.0))


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch) -> Ground:
    made = Ground()

    class Claim:
        def __init__(
            self, claimed: ClaimedShard, _tools: object, claimed_at: float, _left_s: object, known: ShardFigures
        ) -> None:
            self.claimed, self.claimed_at = claimed, claimed_at
            made.known.append(known)

        async def work(self, stop: asyncio.Event) -> None:
            assert stop is made.stop
            made.worked.append((self.claimed, self.claimed_at))
            if made.error is not None:
                raise made.error

    monkeypatch.setattr(cluster_worker, "ShardClaim", Claim)
    monkeypatch.setattr(cluster_worker, "lease_clock", lambda: made.now)
    return made


async def test_a_lease_counts_from_when_the_claim_was_sent(ground: Ground) -> None:
    """The database's clock of the lease has started when the answer comes."""
    await ground.worker()._handle(KEY)
    assert ground.worked == [(CLAIMED, 100.0)]


async def test_the_epoch_is_raised_above_those_of_all_owners(ground: Ground, tmp_path: Path) -> None:
    """A database that replaces a lost one counts from 1 again, and an earlier owner's directory lacks purchases."""
    folder = tmp_path / "shards" / KEY.plan_digest[:8]
    for name in ("3-of-8.e1", "3-of-8.e4", "13-of-80.e9", "3-of-8", "plan.json"):
        (folder / name).mkdir(parents=True)
    (folder / "3-of-8.e7").write_text("a file")
    ground.answer = replace(CLAIMED, location=str(tmp_path))
    await ground.worker()._handle(KEY)
    assert [(claimed.epoch, at) for claimed, at in ground.worked] == [(5, 127.0)]


@pytest.mark.parametrize(("epoch", "newest", "reads"), [(1, 0, 0), (2, 0, 1), (7, 0, 1), (1, 4, 0), (3, 5, 1)])
async def test_a_shard_that_had_an_owner_begins_with_what_that_one_has_reported(
    ground: Ground, tmp_path: Path, epoch: int, newest: int, reads: int
) -> None:
    """Until its journal is read. Each claim of one worker is not another owner."""
    if newest:
        (tmp_path / "shards" / KEY.plan_digest[:8] / f"3-of-8.e{newest}").mkdir(parents=True)
    if reads:
        ground.figures = ShardFigures(Decimal(4), Decimal(2), succeeded=2)
    ground.answer = replace(CLAIMED, epoch=epoch, location=str(tmp_path))
    await ground.worker()._handle(KEY)
    assert (ground.known, ground.reads) == ([ground.figures], reads)
    assert ground.worked[0][0].epoch == max(epoch, newest + 1)


async def test_a_directory_with_an_epoch_that_no_owner_can_have_does_not_keep_a_worker_busy(
    ground: Ground, tmp_path: Path
) -> None:
    """Each claim raises the epoch by one. The run of the shard refuses such a folder."""
    folder = tmp_path / "shards" / KEY.plan_digest[:8]
    (folder / "3-of-8.e999999999").mkdir(parents=True)
    ground.answer = replace(CLAIMED, location=str(tmp_path))
    async with asyncio.timeout(10):
        await ground.worker()._handle(KEY)
    assert ([claimed.epoch for claimed, _ in ground.worked], ground.stop.is_set()) == ([2], False)


@pytest.mark.parametrize(("newest", "epoch"), [(2 + MOST_CLAIMS - 1, 2 + MOST_CLAIMS), (2 + MOST_CLAIMS, 2)])
async def test_an_epoch_is_raised_only_as_far_as_repeated_claims_can_do_it_soon(
    ground: Ground, tmp_path: Path, newest: int, epoch: int
) -> None:
    (tmp_path / "shards" / KEY.plan_digest[:8] / f"3-of-8.e{newest}").mkdir(parents=True)
    ground.answer = replace(CLAIMED, location=str(tmp_path))
    await ground.worker()._handle(KEY)
    assert [claimed.epoch for claimed, _ in ground.worked] == [epoch]


@pytest.mark.parametrize("answer", [each for each in ClaimAnswer if each is not ClaimAnswer.CLAIMED])
async def test_a_shard_that_was_not_granted_is_not_run(ground: Ground, answer: ClaimAnswer) -> None:
    ground.answer = ClaimedShard(KEY, answer)
    worker = ground.worker()
    await worker._handle(KEY)
    assert (ground.worked, worker.claims) == ([], 0)


async def test_a_worker_that_is_to_stop_claims_nothing(ground: Ground) -> None:
    ground.stop.set()
    await ground.worker()._handle(KEY)
    assert (ground.worked, ground.now) == ([], 100.0)


@pytest.mark.parametrize("error", [ClusterSetupError("another gateway"), OSError("no space")])
async def test_an_error_of_this_worker_ends_it(ground: Ground, error: Exception) -> None:
    """Otherwise it would take and return the same shard again and again."""
    ground.error = error
    worker = ground.worker()
    await worker._handle(KEY)
    assert ground.stop.is_set()
    assert worker._error is error


@pytest.mark.parametrize("error", [None, ClusterSetupError("another gateway"), OSError("no space")])
async def test_the_error_that_ended_a_worker_is_raised_once_it_has_left(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """Otherwise the command of a worker that can't run shards would end with 0."""

    class Queue:
        def __init__(self, _address: object, **_options: object) -> None:
            """There is no database."""

        async def __aenter__(self) -> Queue:
            return self

        async def __aexit__(self, *_: object) -> None:
            """There is no connection."""

        async def serve(self, handle: Callable[[ShardKey], Awaitable[None]], stop: asyncio.Event, *, name: str) -> None:
            await handle(KEY)
            assert (stop.is_set(), ground.is_forgotten) == (error is not None, False), name

        async def waiting(self) -> int:
            return 1

    async def rescue(*_: object, **_options: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(cluster_worker, "ShardQueue", Queue)
    monkeypatch.setattr(cluster_worker, "keep_rescuing", rescue)
    ground.error = error
    caught: BaseException | None = None
    try:
        await ground.worker().serve(None, lambda _name: None)
    except (ClusterSetupError, OSError) as raised:
        caught = raised
    assert (caught, ground.is_forgotten, len(ground.worked)) == (error, True, 1)


@pytest.mark.parametrize("where", ["answer", "error"])
async def test_a_database_that_is_away_does_not_end_a_worker(ground: Ground, where: str) -> None:
    setattr(ground, where, ClusterUnreachableError("it is away"))
    worker = ground.worker()
    await worker._handle(KEY)
    assert not ground.stop.is_set()
    assert worker._error is None


async def looked(worker: Any, queue: object, times: int = 5) -> None:
    """Let a worker look several times whether it is over."""
    task = asyncio.ensure_future(worker._keep_seen(queue))
    for _ in range(3 * times):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})


@pytest.mark.parametrize(
    ("draining", "once", "busy", "states", "ends"),
    [
        (False, False, False, [], False),
        (True, False, False, [], True),
        (True, False, True, [], False),  # it finishes its shard first
        (False, True, False, [], True),
        (False, True, True, [], False),
        (False, True, False, [ShardState.WAITING], False),  # it was returned, and has no task yet
        (False, True, False, [ShardState.RUNNING, ShardState.ENDED], True),
    ],
)
async def test_a_worker_ends_if_it_drains_or_nothing_waits_but_not_within_a_shard(
    ground: Ground, draining: bool, once: bool, busy: bool, states: list[ShardState], ends: bool
) -> None:
    ground.is_draining, ground.states = draining, states
    worker = ground.worker(once=once)
    worker._is_busy = busy
    await looked(worker, ground)
    assert ground.stop.is_set() is ends


async def test_renewals_do_not_wait_for_a_database_that_is_away_and_reports_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A renewal that is repeated for minutes would be sent after its lease."""
    opened: list[dict[str, Any]] = []

    class Database:
        @classmethod
        async def opened(cls, _address: object, **options: Any) -> Database:
            opened.append(options)
            return cls()

        async def close(self) -> None:
            """There is no connection."""

    async def served(worker: Any, *_: object) -> None:
        opened.append({"heartbeats": worker._tools.heartbeats, "reports": worker._tools.reports})

    monkeypatch.setattr(cluster_worker, "ClusterDatabase", Database)
    monkeypatch.setattr(_Worker, "serve", served)
    settings: Any = SimpleNamespace(api_key="key")
    address: Any = None
    await run_worker(address, asyncio.Event(), settings=settings)
    heartbeats, reports, tools = opened
    assert heartbeats["patience_s"] == 0
    assert "patience_s" not in reports
    assert tools["heartbeats"] is not tools["reports"]
