"""A plan goes through its file unchanged and in order."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from crucible_batch.core.plan import PlannedJob
from crucible_batch.journal import PlanFile


def test_jobs_come_back_equal_and_in_manifest_order(ground: Any) -> None:
    jobs = [ground.planned(f"job-{number}", number) for number in range(20)]
    with PlanFile.temporary() as plan:
        assert len(plan) == 0
        plan.fill(iter(jobs))
        assert list(plan.jobs()) == jobs
        assert len(plan) == 20


def test_a_temporary_plan_leaves_nothing_behind(ground: Any) -> None:
    with ground.plan("a") as plan:
        directory = plan.path.parent
        assert directory.stat().st_mode & 0o077 == 0
    assert not directory.exists()


def test_one_identity_has_one_place(ground: Any) -> None:
    with PlanFile.temporary() as plan, pytest.raises(sqlite3.IntegrityError):
        plan.fill([ground.planned("a", 0), ground.planned("a", 1)])


def test_jobs_are_written_as_they_come(ground: Any) -> None:
    """A plan of a hundred thousand jobs is never a list."""
    alive = 0

    def jobs() -> Iterator[PlannedJob]:
        nonlocal alive
        for number in range(100):
            alive += 1
            yield ground.planned(f"job-{number}", number)

    with PlanFile.temporary() as plan:
        plan.fill(jobs())
        assert alive == 100
        first = next(plan.jobs())
        assert first.name == "job-0"
