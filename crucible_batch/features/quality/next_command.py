"""What comes after a run whose outputs a check has rejected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from crucible_batch.features.quality.note import noted_written
from crucible_batch.journal import Journal
from crucible_batch.report import ReportHead
from crucible_batch.report.html import same_command
from crucible_batch.runs.next_step import FailureGroup, FirstStep
from crucible_batch.runs.run_journal import local_directory, location_of, newest_run


def next_command(run_dir: str | Path, head: ReportHead, command: str) -> str | None:
    """Return the command that buys the rejected outputs again; None without them.

    Those of an earlier run were bought again, or a person has accepted them. It is the same
    command, unless that follows a saved plan, which has no jobs that buy them.
    """
    if head.checks is None or not head.checks.rejected:
        return None
    directory = local_directory(run_dir)
    with Journal.read(directory) as journal:
        if not noted_written(journal):
            return None
        if newest_run(journal).terms.plan_digest is not None:
            return same_command(head, location_of(journal, directory))
    return command


def first_step(_blocked: Mapping[str, FailureGroup], _run_dir: Path | None) -> FirstStep | None:
    """Return None: redo has the steps for jobs that are not bought again any more."""
    return None
