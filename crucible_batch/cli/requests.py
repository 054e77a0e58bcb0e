"""The conversion of command-line options to API requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from crucible_batch.cli.option_parsers import read_variables
from crucible_batch.cli.options import TargetOptions
from crucible_batch.core.run_options import FeatureOptions, ManifestOptions
from crucible_batch.runs.keywords import values_of
from crucible_batch.runs.request import JobFilter, RunRequest


def manifest_request(
    manifest: Path, var: Sequence[str] | None, options: ManifestOptions
) -> RunRequest:
    """Return the request with these options, of a run or of reading.

    Raises ``UserError`` if a variable is invalid.
    """
    return RunRequest(
        manifest, variables=read_variables(var or ()), **values_of(options, type(options))
    )


def plan_request(
    read: RunRequest,
    budget: Decimal | None,
    target: TargetOptions,
    only: Sequence[str] | None,
    features: tuple[FeatureOptions, ...],
) -> RunRequest:
    """Return the request to plan a run, or to run."""
    return replace(
        read,
        out_dir=target.out_dir,
        run_id=target.run_id,
        budget=budget,
        job_filter=JobFilter(tuple(only or ()), target.retry_failed),
        features=features,
    )
