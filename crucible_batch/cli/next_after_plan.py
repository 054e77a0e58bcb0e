"""What to do after a plan: the next command, or what has to be done before it."""

from __future__ import annotations

from pathlib import Path

from crucible_batch.api import ChangeKind, PlanSummary, Remedy, format_credits
from crucible_batch.cli.command_line import with_budget
from crucible_batch.cli.render.summary import BUYS_AGAIN
from crucible_batch.shell_command import run_command


def next_after_plan(summary: PlanSummary, save_to: Path | None, command: str, *, plan_again: str) -> str | None:
    """Return the next command after a plan; None if no job can start and no budget is known to be enough.

    ``command`` runs the plan, and ``plan_again`` makes it again. If something else has to be done first, the result is
    a sentence, with the command at its end if there is one that works.
    """
    if summary.blocked is not None:
        is_saved = save_to is not None or summary.digest is not None
        return _once_no_job_can_start(summary, (summary.remake or plan_again) if is_saved else command)
    needs_budget = _needs_budget(summary, command)
    if summary.is_settled:
        is_saved = save_to is not None or summary.digest is not None
        plans = summary.remake or plan_again
        if summary.remedy is Remedy.BUY_AGAIN:
            return _buying_again(plans, run_command(save_to) if save_to is not None else command, is_saved=is_saved)
        return _once_settled(summary, plans if is_saved or needs_budget else command)
    if save_to is not None:
        return run_command(save_to)
    if needs_budget:
        if summary.enough is None:
            return "set a budget: --budget N, or budget.credits in the manifest"
        return with_budget(command, format_credits(summary.enough))
    return command


def _needs_budget(summary: PlanSummary, command: str) -> bool:
    return summary.budget is None and summary.digest is None and "--yes" not in command and "-y" not in command.split()


def _once_no_job_can_start(summary: PlanSummary, command: str) -> str | None:
    """Return the command with a budget that is enough; None if none is known, or the account is what is too small."""
    if summary.period is not None and summary.period.is_limited_by_period:
        return f"{command}   # from {summary.period.until}"
    budget, enough = summary.budget, summary.enough
    if budget is None or enough is None or enough <= budget:
        return None
    return with_budget(command, format_credits(enough))


def _buying_again(plans: str, runs: str, *, is_saved: bool) -> str:
    """Return the command for jobs that only ``--resubmit-unknown`` buys again, which is an option of ``run`` alone.

    A saved plan has to be one of failed jobs already: ``plans`` makes such a plan, and ``runs`` runs what was planned.
    """
    has_option = "--retry-failed" in (plans if is_saved else runs)
    if is_saved and not has_option:
        return f"{plans} --retry-failed"
    option = "" if is_saved or has_option else " --retry-failed"
    return f"{runs}{option} --resubmit-unknown{BUYS_AGAIN}"


def _once_settled(summary: PlanSummary, command: str) -> str | None:
    """Return what is left to do if a run would change nothing. ``command`` is for jobs that were changed."""
    match summary.remedy:
        case None if not summary.comparison.counts.get(ChangeKind.FAILED):
            return "nothing to run: every job is done"
        case Remedy.RETRY:
            return f"{command} --retry-failed"
        case Remedy.CHANGE:
            return f"change the failed jobs, then: {command}"
        case _:
            return None
