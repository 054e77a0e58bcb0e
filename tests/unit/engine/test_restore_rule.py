"""Restoring by itself: what a job that the gateway doesn't know counts at."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace

import pytest

from crucible_batch.domain.events import Held, Saved
from crucible_batch.domain.gateway_types import JobSnapshot, JobStatus
from crucible_batch.domain.plan import PlannedJob
from crucible_batch.domain.prices import shape_of
from crucible_batch.engine.restore import _intact_outputs, _Rebuilder
from crucible_batch.errors import GatewayError
from tests.case_table import each_case

D = Decimal
PLANNED = PlannedJob(0, "job", "job", "w", {})


class Gateway:
    """Knows the jobs of ``prices``, by their ids."""

    def __init__(self, **prices: str) -> None:
        self.prices = prices

    async def job(self, job_id: str, **_before_retry: object) -> JobSnapshot:
        return JobSnapshot(job_id, JobStatus.SUCCEEDED, D(self.prices[job_id]))


@pytest.mark.parametrize("prices", [("9", "2"), ("2", "9")])
async def test_a_job_that_is_unknown_counts_at_the_highest_price_of_its_shape(prices: tuple[str, str]) -> None:
    planned = PLANNED
    gateway = Gateway(a=prices[0], b=prices[1])
    rebuilder = _Rebuilder(gateway, SimpleNamespace(owner=lambda _job_id: "job"), SimpleNamespace())  # type: ignore[arg-type]
    for job_id in ("a", "b"):
        assert await rebuilder._found(planned, SimpleNamespace(job_ids=(job_id,))) is not None  # type: ignore[arg-type]
    shape = shape_of(planned)
    held = Held(at=0.0, attempt=1, key="k", credits=D(1), price_class=shape.price_class, shape=shape.digest)
    assert rebuilder.least_price([held], D(4)) == 9
    other = replace(held, shape="another")
    assert [rebuilder.least_price([other], ceiling) for ceiling in (D(4), None)] == [4, None]


class Knows(Gateway):
    """A gateway that has a record of each job, or an error."""

    def __init__(self, **records: JobSnapshot | GatewayError) -> None:
        super().__init__()
        self.records = records

    async def job(self, job_id: str, **_before_retry: object) -> JobSnapshot:
        found = self.records[job_id]
        if isinstance(found, GatewayError):
            raise found
        return found


def record(job_id: str, status: JobStatus = JobStatus.SUCCEEDED, workflow_id: str = "w") -> JobSnapshot:
    return JobSnapshot(job_id, status, D(2), workflow_id=workflow_id)


def rebuilder_for(gateway: Gateway, owner: str = "job") -> _Rebuilder:
    return _Rebuilder(gateway, SimpleNamespace(owner=lambda _job_id: owner), SimpleNamespace())  # type: ignore[arg-type]


NOT_FOUND = GatewayError("not found", code="JOB_NOT_FOUND", status=404)


@each_case(
    "owner, answer, is_found, is_known",
    [
        ("job", record("a"), True, True),
        ("other job", record("a"), False, False),
        ("job", record("a", workflow_id="other"), False, False),
        ("job", NOT_FOUND, True, False),
    ],
)
async def test_a_claim_counts_by_the_gateways_record_of_a_job_that_no_other_job_claims(
    owner: str, answer: JobSnapshot | GatewayError, is_found: bool, is_known: bool
) -> None:
    found = await rebuilder_for(Knows(a=answer), owner)._found(PLANNED, SimpleNamespace(job_ids=("a",)))  # type: ignore[arg-type]
    assert (found is not None, found is not None and found.record is not None) == (is_found, is_known)


async def test_an_error_of_the_gateway_does_not_show_that_a_job_is_unknown() -> None:
    gateway = Knows(a=GatewayError("not now", code="HTTP_503", status=503))
    with pytest.raises(GatewayError, match="not now"):
        await rebuilder_for(gateway)._found(PLANNED, SimpleNamespace(job_ids=("a",)))  # type: ignore[arg-type]


async def test_attempts_after_one_that_has_not_failed_are_not_believed() -> None:
    gateway = Knows(a=record("a", JobStatus.FAILED), b=record("b"), c=record("c"), x=NOT_FOUND)
    claims = [SimpleNamespace(job_ids=(job_id,)) for job_id in ("x", "a", "b", "c")]
    checked = await rebuilder_for(gateway)._checked(PLANNED, claims)  # type: ignore[arg-type]
    assert [each.job_id for each in checked] == ["a", "b"]


@each_case(
    "path, index, is_true, is_used",
    [
        ("a/0.png", 0, True, True),
        ("a/0.png", 0, False, False),
        ("a/1.png", 0, True, False),
        ("other/0.png", 0, True, False),
        ("../a/0.png", 0, True, False),
        ("a/1.png", 1, True, False),  # the job has one output
    ],
)
async def test_a_receipt_can_only_name_the_file_that_the_plan_would_write(
    path: str, index: int, is_true: bool, is_used: bool
) -> None:
    async def intact(_saved: Saved) -> bool:
        return is_true

    saved = Saved(
        at=0.0, index=index, path=path, sha256="ab" * 32, byte_size=1, mime_type="image/png", width=1, height=1
    )
    receipt = SimpleNamespace(saved=saved, outputs=1)
    planned = replace(PLANNED, output="a/{index}.png")
    found = [each async for each in _intact_outputs(planned, [receipt], SimpleNamespace(is_true=intact))]  # type: ignore[arg-type, list-item]
    assert found == ([saved] if is_used else [])
