"""The deadline of a run in a cluster's database."""

from __future__ import annotations

from typing import Any

import pytest

from crucible_batch.api import cancellation
from crucible_batch.api.cancellation import Deadline
from crucible_batch.api.cluster.deadline import store_deadline


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
