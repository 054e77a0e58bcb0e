"""The conversion of command-line options to API requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from crucible_batch.api.request import JobFilter, RunRequest
from crucible_batch.cli.option_parsers import read_variables
from crucible_batch.cli.options import ManifestOptions, TargetOptions
from crucible_batch.cli.run_options import (
    NotifyOptions,
    PaceOptions,
    SavingOptions,
    SpendingOptions,
    TelemetryOptions,
)
from crucible_batch.domain.saved_plan import DEFAULT_MAX_MANIFEST_BYTES
from crucible_batch.option_values import AUTO


def manifest_request(manifest: Path, reading: ManifestOptions) -> RunRequest:
    """Return the request to read a manifest. Raises ``UserError`` if a variable is invalid."""
    return RunRequest(
        manifest,
        variables=read_variables(reading.var or ()),
        allow_outside=reading.allow_outside,
        max_jobs=reading.max_jobs,
        max_manifest_bytes=reading.max_manifest_size or DEFAULT_MAX_MANIFEST_BYTES,
        scheduled_at=reading.scheduled_at,
    )


def plan_request(
    manifest: Path,
    budget: Decimal | None,
    target: TargetOptions,
    only: Sequence[str] | None,
    reading: ManifestOptions,
) -> RunRequest:
    """Return the request to plan a run. Raises ``UserError`` if a variable is invalid."""
    return replace(
        manifest_request(manifest, reading),
        out_dir=target.out_dir,
        run_id=target.run_id,
        budget=budget,
        job_filter=JobFilter(tuple(only or ()), target.retry_failed),
    )


def run_request(
    planned: RunRequest,
    spending: SpendingOptions,
    pace: PaceOptions,
    saving: SavingOptions,
    *,
    telemetry: TelemetryOptions,
    notifying: NotifyOptions,
    recover: bool,
) -> RunRequest:
    return replace(
        planned,
        yes=spending.yes,
        recover=recover,
        resubmit_unknown=spending.resubmit_unknown,
        forget_refunds=spending.forget_refunds,
        same_account=spending.same_account,
        concurrency=AUTO if pace.concurrency == 0 else pace.concurrency,
        polls_per_s=pace.polls_per_second,
        job_timeout_s=pace.job_timeout or planned.job_timeout_s,
        deadline_s=pace.deadline,
        wait_for_gateway_s=planned.wait_for_gateway_s if pace.wait_for_gateway is None else pace.wait_for_gateway,
        key_ttl_s=pace.key_ttl or planned.key_ttl_s,
        max_output_bytes=saving.max_output_size,
        max_pixels=saving.max_pixels,
        html=not saving.no_html,
        sidecars=not saving.no_sidecars,
        metrics_textfile=telemetry.metrics_textfile,
        metrics_listen=telemetry.metrics_listen,
        notify=not notifying.no_notify,
        allow_command=notifying.allow_command,
    )
