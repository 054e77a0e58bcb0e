"""What comes after a run whose outputs a check has rejected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from crucible_batch.features.quality.note import noted_written
from crucible_batch.journal import Journal
from crucible_batch.report import ReportHead
from crucible_batch.runs.next_step import FailureGroup, FirstStep
from crucible_batch.runs.run_journal import local_directory


def next_command(run_dir: str | Path, head: ReportHead, command: str) -> str | None:
    """Return the same command, which buys the rejected outputs again; None without them.

    Those of an earlier run were bought again, or a person has accepted them.
    """
    if head.checks is None or not head.checks.rejected:
        return None
    with Journal.read(local_directory(run_dir)) as journal:
        return command if noted_written(journal) else None


def first_step(_blocked: Mapping[str, FailureGroup], _run_dir: Path | None) -> FirstStep | None:
    """Return None: redo has the steps for jobs that are not bought again any more."""
    return None
