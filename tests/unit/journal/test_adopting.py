"""A plan that the journal has already is left as it is; any other takes its place."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.journal import Journal, PlanFile
from tests.harness.job_events import held_event
from tests.harness.replacing import replace

NAMES = ("a", "b", "c")


def adopt(journal: Journal, jobs: list[PlannedJob]) -> None:
    with PlanFile.temporary() as plan:
        plan.fill(jobs)
        journal.adopt(plan)


def wal(ground: Any) -> bytes:
    return (Path(ground.directory) / ".crucible/journal.sqlite3-wal").read_bytes()


def stored(ground: Any) -> list[tuple[int, str, str]]:
    with closing(
        sqlite3.connect(Path(ground.directory) / ".crucible/journal.sqlite3")
    ) as connection:
        return connection.execute(
            "SELECT position, identity, body FROM plan ORDER BY position"
        ).fetchall()


async def test_the_same_plan_of_jobs_with_a_past_writes_nothing(ground: Any) -> None:
    with ground.open() as journal, ground.plan(*NAMES) as plan:
        journal.adopt(plan)
        held = held_event("2.50", key="cb1-1")
        await journal.append(ground.planned("a", 0).identity, held)
        before = wal(ground)
        journal.adopt(plan)
        assert wal(ground) == before
        assert list(journal.retired()) == []


def swapped(jobs: list[PlannedJob]) -> list[PlannedJob]:
    return [replace(jobs[1], position=0), replace(jobs[0], position=1), jobs[2]]


CHANGES: dict[str, Callable[[list[PlannedJob]], list[PlannedJob]]] = {
    "order": swapped,
    "name": lambda jobs: [*jobs[:2], replace(jobs[2], name="renamed")],
    "case of a name": lambda jobs: [*jobs[:2], replace(jobs[2], name="C")],
    "parameters": lambda jobs: [*jobs[:2], replace(jobs[2], params={"prompt.text": "another"})],
    "output": lambda jobs: [replace(jobs[0], output="elsewhere/{index}{ext}"), *jobs[1:]],
    "identity": lambda jobs: [jobs[0], replace(jobs[1], identity="0" * 64), jobs[2]],
    "one fewer at the end": lambda jobs: jobs[:2],
    "one more at the end": lambda jobs: [
        *jobs,
        replace(jobs[0], identity="1" * 64, name="d", position=3),
    ],
    "none": lambda _jobs: [],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_plan_that_differs_in_one_item_is_adopted(
    ground: Any, change: Callable[..., list[PlannedJob]]
) -> None:
    first = [ground.planned(name, position) for position, name in enumerate(NAMES)]
    with ground.open() as journal:
        adopt(journal, first)
        old = stored(ground)
        adopt(journal, change(first))
        assert list(journal.plan()) == change(first)
        adopt(journal, first)
        assert (list(journal.plan()), stored(ground)) == (first, old)


def test_a_plan_that_cannot_be_read_any_more_is_replaced(ground: Any) -> None:
    with ground.open() as journal, ground.plan(*NAMES) as plan:
        journal.adopt(plan)
        with closing(sqlite3.connect(journal.path)) as connection, connection:
            connection.execute("UPDATE plan SET body = CAST(x'ff' AS TEXT) WHERE position = 1")
        journal.adopt(plan)
        assert [planned.name for planned, _ in journal.jobs(RetryRule())] == list(NAMES)


async def test_a_job_that_is_retired_though_the_plan_has_it_is_so_no_more(ground: Any) -> None:
    with ground.open() as journal, ground.plan(*NAMES) as plan:
        journal.adopt(plan)
        with closing(sqlite3.connect(journal.path)) as connection, connection:
            connection.execute(
                "INSERT INTO retired SELECT identity, body FROM plan WHERE position = 1"
            )
        journal.adopt(plan)
        assert list(journal.retired()) == []


@pytest.mark.parametrize(
    "column", ["position = position + 7", "identity = 'x' || identity", "body = CAST(body AS BLOB)"]
)
def test_a_plan_whose_columns_were_changed_is_replaced(ground: Any, column: str) -> None:
    with ground.open() as journal, ground.plan(*NAMES) as plan:
        journal.adopt(plan)
        before = stored(ground)
        with closing(sqlite3.connect(journal.path)) as connection, connection:
            connection.execute(f"UPDATE plan SET {column} WHERE position = 2")
        journal.adopt(plan)
        assert stored(ground) == before
