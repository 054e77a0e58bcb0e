"""Whether a record at the gateway can be that of a planned job."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from crucible_batch.core.credits import Credits
from crucible_batch.core.gateway_types import AssetSpec, JobSnapshot, JobStatus
from crucible_batch.core.job_record import matches_record
from crucible_batch.core.plan import InputImage, PlannedJob
from tests.harness.case_table import each_case

PARAMS = {"prompt.text": "a lighthouse", "width.value": 1024, "sampler.seed": -1, "sharpen": True}
IMAGE = InputImage(AssetSpec("a" * 64, 1, "image/png", "a.png"), Path("a.png"))
PLANNED = PlannedJob(0, "i" * 64, "job", "w", PARAMS, {"image.image": IMAGE})


def record(workflow_id: str = "w", params: Mapping[str, object] | None = None) -> JobSnapshot:
    return JobSnapshot(
        "job_1", JobStatus.SUCCEEDED, Credits(2), workflow_id=workflow_id, params=params or {}
    )


def test_a_record_of_another_workflow_is_another_jobs() -> None:
    assert matches_record(PLANNED, record())
    assert matches_record(PLANNED, record(""))
    assert not matches_record(PLANNED, record("other"))


@each_case(
    "params",
    [
        {"prompt.text": "a bridge"},
        {"prompt.text": ""},
        {"width.value": 512},
        {"width.value": 1024.5},
    ],
)
def test_a_record_with_another_parameter_is_another_jobs(params: Mapping[str, object]) -> None:
    assert not matches_record(PLANNED, record(params=params))


@each_case(
    "params",
    [
        PARAMS,
        {"prompt.text": " a  lighthouse\n", "width.value": Decimal("1024.0")},
        {"sampler.seed": 7},
        {"steps": 20, "prompt": "another name proves nothing"},
        {"prompt.text": None, "width.value": "1024", "sharpen": 1},
        {"image.image": "the asset of the same image, which was uploaded again"},
    ],
)
def test_what_a_gateway_adds_stores_otherwise_or_leaves_out_proves_nothing(
    params: Mapping[str, object],
) -> None:
    assert matches_record(PLANNED, record(params=params))
