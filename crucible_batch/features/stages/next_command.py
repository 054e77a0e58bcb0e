"""What comes after a run whose stages wait for picks, or whose picks name missing outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.features.stages.note import noted_stages
from crucible_batch.features.stages.rule import PICK_NOT_FOUND
from crucible_batch.journal import Journal
from crucible_batch.report import ReportHead
from crucible_batch.runs.next_step import SOURCES_NAMED, FailureGroup, FirstStep
from crucible_batch.runs.run_journal import local_directory
from crucible_batch.shell_command import shell_command


def next_command(run_dir: str | Path, head: ReportHead, command: str) -> str | None:
    """Return a command that picks the first output that there is; None if no stage waits."""
    if not head.waiting:
        return None
    with Journal.read(local_directory(run_dir)) as journal:
        for stage in noted_stages(journal):
            if not stage.is_waiting:
                continue
            for planned in stage.candidates(journal.plan()):
                if journal.job(planned, RetryRule()).outputs:
                    return shell_command("pick", run_dir, planned.name)
    return None


def first_step(blocked: Mapping[str, FailureGroup], run_dir: Path | None) -> FirstStep | None:
    """Return what corrects picks of missing outputs. ``blocked`` has the blocked jobs by code."""
    picks = blocked.get(PICK_NOT_FOUND)
    if picks is None:
        return None
    if run_dir is None or not 0 < len(picks.sources) <= SOURCES_NAMED:
        return FirstStep("correct the picks", is_command=False)
    command = shell_command("pick", run_dir, *picks.sources, "--remove")
    return FirstStep(command, is_command=True)
