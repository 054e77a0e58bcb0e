"""The options of ``run`` and ``plan`` as one request: each of them arrives."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from crucible_batch.api.request import JobFilter, RunRequest
from crucible_batch.cli.options import ManifestOptions, TargetOptions
from crucible_batch.cli.requests import plan_request, run_request
from crucible_batch.cli.run_options import NotifyOptions, PaceOptions, SavingOptions, SpendingOptions, TelemetryOptions
from tests.case_table import each_case

NIGHT = datetime(2026, 11, 26, 3, 15, tzinfo=UTC)
CHOSEN = RunRequest(
    Path("spring.yaml"),
    out_dir=Path("out"),
    run_id="a",
    budget=Decimal(5),
    job_filter=JobFilter(("hero-*",), retry_failed=True),
    variables={"colour": "red"},
    allow_outside=True,
    max_jobs=7,
    max_manifest_bytes=8,
    scheduled_at=NIGHT,
    yes=True,
    recover=True,
    resubmit_unknown=True,
    forget_refunds=True,
    same_account=True,
    concurrency=3,
    polls_per_s=4.0,
    job_timeout_s=5.0,
    deadline_s=6.0,
    wait_for_gateway_s=0.0,
    key_ttl_s=8.0,
    max_output_bytes=9,
    max_pixels=10,
    html=False,
    sidecars=False,
    metrics_textfile=Path("metrics"),
    metrics_listen="9464",
    notify=False,
    allow_command=True,
)
NOT_OPTIONS = {"plan", "shard", "shards", "uploads_only", "overlap_is_failure"}
"""Fields that other functions fill."""


def requested() -> RunRequest:
    reading = ManifestOptions(["colour=red"], True, 7, 8, NIGHT)
    planned = plan_request(Path("spring.yaml"), Decimal(5), TargetOptions(Path("out"), "a", True), ["hero-*"], reading)
    return run_request(
        planned,
        SpendingOptions(Decimal(5), yes=True, resubmit_unknown=True, forget_refunds=True, same_account=True),
        PaceOptions(3, 4.0, 5.0, 6.0, 0.0, 8.0),
        SavingOptions(9, 10, no_html=True, no_sidecars=True),
        telemetry=TelemetryOptions(Path("metrics"), "9464"),
        notifying=NotifyOptions(no_notify=True, allow_command=True),
        recover=True,
    )


@each_case("name", sorted({field.name for field in fields(RunRequest)} - NOT_OPTIONS))
def test_each_option_is_in_the_request(name: str) -> None:
    default = getattr(RunRequest(Path()), name)
    assert getattr(requested(), name) == getattr(CHOSEN, name) != default


def test_without_options_the_request_is_that_of_the_manifest_alone() -> None:
    planned = plan_request(Path("spring.yaml"), None, TargetOptions(), None, ManifestOptions())
    assert planned == RunRequest(Path("spring.yaml"))
    options = (SpendingOptions(), PaceOptions(), SavingOptions())
    rest = {"telemetry": TelemetryOptions(), "notifying": NotifyOptions(), "recover": False}
    assert run_request(planned, *options, **rest) == planned  # type: ignore[arg-type]
