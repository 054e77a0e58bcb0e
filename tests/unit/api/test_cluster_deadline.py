"""The deadline of a run in a cluster's database."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from crucible_batch.api import cancellation
from crucible_batch.api.cancellation import Deadline
from crucible_batch.api.cluster.deadline import LATE, end_late, store_deadline
from crucible_batch.cluster import ClaimedShard, QueuedShard, ShardFigures, ShardKey
from crucible_batch.domain.shard_lease import ClaimAnswer, ShardState


class Database:
    """A database that is away for ``waits`` seconds at each of its first calls."""

    def __init__(self, waits: list[float]) -> None:
        self.waits = waits
        self.now = 0.0
        self.stored: list[float | None] = []

    def monotonic(self) -> float:
        return self.now

    async def set_deadline(self, _run: str, _epoch: int, left_s: float | None) -> None:
        self.now += self.waits.pop(0) if self.waits else 0.01
        self.stored.append(left_s)


@pytest.mark.parametrize(
    ("waits", "stored"), [([], [60.0]), ([0.5], [60.0]), ([20.0], [60.0, 40.0]), ([20.0, 50.0], [60.0, 40.0, 0.0])]
)
async def test_a_deadline_is_not_later_because_the_database_was_away(
    monkeypatch: pytest.MonkeyPatch, waits: list[float], stored: list[float]
) -> None:
    """The time that is left is counted from the moment at which the database stores it."""
    database: Any = Database(waits)
    monkeypatch.setattr(cancellation, "time", database)
    await store_deadline(database, "run", 1, Deadline(60.0), database.monotonic)
    assert database.stored == stored


async def test_a_run_without_a_deadline_clears_that_of_an_earlier_command() -> None:
    database: Any = Database([5.0])
    await store_deadline(database, "run", 1, Deadline(None), database.monotonic)
    assert database.stored == [None]


async def test_storing_a_deadline_ends_at_a_database_that_is_always_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    database: Any = Database([20.0] * 9)
    monkeypatch.setattr(cancellation, "time", database)
    await store_deadline(database, "run", 1, Deadline(60.0), database.monotonic)
    assert database.stored == [60.0, 40.0, 20.0, 0.0]


async def test_a_late_shard_keeps_its_allowance_until_its_journal_is_merged() -> None:
    """What its earlier owner has reported may be less than what it has spent. A shard that is run is left alone."""
    ended = list[tuple[int, int, str, ShardFigures]]()
    known = ShardFigures(Decimal(4), Decimal(2), succeeded=2)

    async def claim_shard(key: ShardKey, _worker: str) -> ClaimedShard:
        answer = ClaimAnswer.CLAIMED if key.number != 2 else next(each for each in ClaimAnswer if each != "claimed")
        return ClaimedShard(key, answer, 7, Decimal(10), "/outputs", "https://gateway.test")

    async def report_shard(key: ShardKey, epoch: int, ending: str, figures: ShardFigures) -> None:
        ended.append((key.number, epoch, ending, figures))

    states = (ShardState.RUNNING, ShardState.RUNNING, ShardState.WAITING, ShardState.ENDED, ShardState.WITHDRAWN)
    rows = [
        QueuedShard(
            ShardKey("run", "ab" * 32, number), 5, 5, Decimal(10), state, 6, None, 1.0, None, None, None, None, known
        )
        for number, state in enumerate(states, 1)
    ]
    database: Any = SimpleNamespace(claim_shard=claim_shard, report_shard=report_shard)
    await end_late(database, rows, "coordinator")
    all_of_it = ShardFigures(Decimal(4), Decimal(6), succeeded=2)
    assert ended == [(1, 7, LATE, all_of_it), (3, 7, LATE, all_of_it)]
