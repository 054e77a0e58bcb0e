"""What ``plan --export`` shows is printed after its files are written: ``plan_folder.py``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from crucible_batch.cli.terminal import Json
from crucible_batch.features.machines.plan_options import BatchSystemOptions
from crucible_batch.runs.plan_summary import PlanSummary
from crucible_batch.runs.request import RunRequest


def show(console: Console, plan: PlanSummary) -> None:
    """Show nothing of a plan itself."""


def as_json(plan: PlanSummary) -> dict[str, Json]:
    """Return no fields of a plan itself."""
    return {}


def show_next(console: Console, plan: PlanSummary, saved: Path, request: RunRequest) -> bool:
    """Return whether the next commands are those of the export."""
    return request.of(BatchSystemOptions).export is not None
