"""Restoring by itself: what a job that the gateway doesn't know counts at."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

import pytest

from crucible_batch.domain.events import Held
from crucible_batch.domain.gateway_types import JobSnapshot, JobStatus
from crucible_batch.domain.plan import PlannedJob
from crucible_batch.domain.prices import shape_of
from crucible_batch.engine.restore import _Rebuilder

D = Decimal


class Gateway:
    """Knows the jobs of ``prices``, by their ids."""

    def __init__(self, **prices: str) -> None:
        self.prices = prices

    async def job(self, job_id: str, **_before_retry: object) -> JobSnapshot:
        return JobSnapshot(job_id, JobStatus.SUCCEEDED, D(self.prices[job_id]))


@pytest.mark.parametrize("prices", [("9", "2"), ("2", "9")])
async def test_a_job_that_is_unknown_counts_at_the_highest_price_of_its_shape(prices: tuple[str, str]) -> None:
    planned = PlannedJob(0, "job", "job", "w", {})
    gateway = Gateway(a=prices[0], b=prices[1])
    rebuilder = _Rebuilder(gateway, SimpleNamespace(owner=lambda _job_id: "job"), SimpleNamespace())  # type: ignore[arg-type]
    for job_id in ("a", "b"):
        assert await rebuilder._found(planned, SimpleNamespace(job_ids=(job_id,))) is not None  # type: ignore[arg-type]
    shape = shape_of(planned)
    held = Held(at=0.0, attempt=1, key="k", credits=D(1), price_class=shape.price_class, shape=shape.digest)
    assert rebuilder.least_price([held], D(4)) == 9
