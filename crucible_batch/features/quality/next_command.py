"""What comes after a run whose outputs a check has rejected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from crucible_batch.report import ReportHead
from crucible_batch.runs.next_step import FailureGroup, FirstStep


def next_command(_run_dir: str | Path, head: ReportHead, command: str) -> str | None:
    """Return the same command, which buys the rejected outputs again; None without them."""
    return command if head.checks is not None and head.checks.rejected else None


def first_step(_blocked: Mapping[str, FailureGroup], _run_dir: Path | None) -> FirstStep | None:
    """Return None: redo has the steps for jobs that are not bought again any more."""
    return None
