"""The command after a run with a stage that waits for its picks."""

from __future__ import annotations

from pathlib import Path

from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.features.stages.note import noted_stages
from crucible_batch.journal import Journal
from crucible_batch.report import ReportHead
from crucible_batch.runs.run_journal import local_directory
from crucible_batch.shell_command import shell_command


def next_command(run_dir: str | Path, head: ReportHead) -> str | None:
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
