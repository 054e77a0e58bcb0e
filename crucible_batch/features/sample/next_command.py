"""The command that runs all jobs, after a run of a few of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from crucible_batch.core.credits import ZERO, format_credits
from crucible_batch.features.sample.note import noted_tried
from crucible_batch.journal import Journal
from crucible_batch.report import ReportHead
from crucible_batch.runs.next_step import FailureGroup, FirstStep
from crucible_batch.runs.plan_rows import budget_for_remaining
from crucible_batch.runs.request import JobFilter
from crucible_batch.runs.run_journal import local_directory
from crucible_batch.shell_command import with_budget, without_option


def next_command(run_dir: str | Path, head: ReportHead, command: str) -> str | None:
    """Return the same command without the option, with a budget for all jobs if it has too small a
    one."""
    estimate, budget = head.all_jobs, head.credits.budget
    if estimate is None:
        return None
    command = without_option(command, estimate.option)
    if budget is None or head.period is not None:
        return command
    with Journal.read(local_directory(run_dir)) as journal:
        tried = noted_tried(journal)
        only = () if tried is None else tried.only
        enough = budget_for_remaining(journal, JobFilter(only))
    needed = max(enough or ZERO, estimate.credits)
    return command if needed <= budget else with_budget(command, format_credits(needed))


def first_step(blocked: Mapping[str, FailureGroup], run_dir: Path | None) -> FirstStep | None:
    """Return nothing: failed jobs are retried as in any run."""
    return None
