"""The conversion of command-line options to API requests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crucible_batch.core.run_options import (
    FeatureOptions,
    ManifestOptions,
    PlanningOptions,
    read_variables,
)
from crucible_batch.runs.keywords import values_of
from crucible_batch.runs.request import RunRequest, planned


def manifest_request(
    manifest: Path, var: Sequence[str] | None, options: ManifestOptions
) -> RunRequest:
    """Return the request to read a manifest. Raises ``UserError`` if a variable is invalid."""
    return RunRequest(
        manifest, variables=read_variables(var or ()), **values_of(options, ManifestOptions)
    )


def plan_request(
    manifest: Path,
    planning: PlanningOptions,
    options: ManifestOptions,
    features: tuple[FeatureOptions, ...],
) -> RunRequest:
    """Return the request to plan a run, or to run. Raises as ``manifest_request`` does."""
    return RunRequest(
        manifest, features=features, **planned(planning), **values_of(options, type(options))
    )
