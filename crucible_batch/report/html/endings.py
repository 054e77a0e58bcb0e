"""How a run ended, in words, and what to do next about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crucible_batch.core.account_shortage import CHECK_IT, INSUFFICIENT_CREDITS, account_step
from crucible_batch.core.budget import (
    BUDGET_EXHAUSTED,
    PRICE_ABOVE_CEILING,
    PRICE_ROSE,
)
from crucible_batch.core.credits import Credits, format_credits
from crucible_batch.core.outcome import RunStatus
from crucible_batch.core.retry_rule import Remedy, is_access_denied
from crucible_batch.report.models import ReportHead
from crucible_batch.shell_command import DEFAULT_DIRECTORY, run_command


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do next; ``command`` is None if there is no command to run."""

    text: str
    command: str | None = None


def same_command(head: ReportHead, location: str | Path, budget: Credits | None = None) -> str:
    """Return the command that continues this run directory, with its budget or with ``budget``.

    ``location`` is the directory, or the URL of the outputs if they are in an object store.
    """
    # The budget of a run with a period is what the period had left, which changes.
    if budget is None and head.budget_source == "command" and head.period is None:
        budget = head.credits.budget
    options = []
    if budget is not None:
        options = ["--budget", format_credits(budget)]
    out_dir: str | Path | None = location
    default = (DEFAULT_DIRECTORY.name, head.manifest.name, head.run_id)
    if isinstance(location, Path) and location.parts[-3:] == default:
        out_dir = None
    return run_command(
        head.manifest.path,
        *options,
        run_id=head.run_id,
        scheduled_at=head.scheduled_at,
        out_dir=out_dir,
        notify_option=head.notify_option,
    )


_DENIED = "The gateway denied access. Ask its operator to grant it,"


def advice(
    head: ReportHead,
    location: str | Path,
    enough: Credits | None = None,
    remedy: Remedy | None = Remedy.RETRY,
) -> Advice:
    """Return what to do next, by how the run ended.

    For ``location`` see ``same_command``. ``enough`` is a budget for the rest, None if there is
    none. ``remedy`` is what to do about the failed jobs.
    """
    if head.shard is not None:
        return _of_a_shard(head)
    again = same_command(head, location)
    match head.status:
        case RunStatus.SUCCEEDED if head.waiting:
            picks = ", ".join(stage.pick for stage in head.waiting)
            steps = "Star its pictures, select Save picks, then run:"
            return Advice(
                f"All jobs so far are complete. The next stage waits for {picks}. {steps}", again
            )
        case RunStatus.SUCCEEDED:
            return Advice("All jobs are complete. Nothing is left to do.")
        case RunStatus.PARTIAL | RunStatus.FAILED:
            return _once_some_failed(again, remedy)
        case _ if head.is_short_of_credits:
            return _once_blocked(head, location, again, enough)
        case RunStatus.RUNNING:
            return Advice(
                "The run was in progress or interrupted when this page was written. Resume with:",
                again,
            )
        case RunStatus.STOPPED if any(is_access_denied(stop.code) for stop in head.stops.values()):
            return Advice(f"{_DENIED} and resume with:", f"{again} --retry-failed")
        case _:
            return Advice("The run stopped early. Resume with:", again)


def _of_a_shard(head: ReportHead) -> Advice:
    """Return what to do next about a shard.

    Its plan, and so the command that resumes it, isn't known here.
    """
    match head.status:
        case RunStatus.SUCCEEDED:
            return Advice(
                "All jobs of this shard are complete. Merge the shards once all have ended."
            )
        case RunStatus.PARTIAL | RunStatus.FAILED | RunStatus.BLOCKED:
            return Advice(
                "Merge the shards once all have ended; "
                "the next plan of the run admits what is left."
            )
        case _:
            return Advice(
                f"Shard {head.shard} was in progress or stopped early. "
                "Resume it with the same command."
            )


def _once_some_failed(again: str, remedy: Remedy | None) -> Advice:
    match remedy:
        case None:
            return Advice(
                "Some jobs are not done. Correct what the error of each asks for, then run:", again
            )
        case Remedy.BUY_AGAIN:
            known = (
                "Some jobs were bought by a run directory that is lost; "
                "with a copy of it, they cost nothing."
            )
            return Advice(f"{known} To buy them again:", f"{again} --retry-failed")
        case Remedy.GET_ACCESS:
            return Advice(f"{_DENIED} and run:", f"{again} --retry-failed")
        case Remedy.RETRY:
            return Advice(
                "Retry the failed jobs; completed jobs are not paid for again:",
                f"{again} --retry-failed",
            )
        case Remedy.CHANGE:
            return Advice(
                "Another attempt cannot succeed. Change the failed jobs in the manifest, then run:",
                again,
            )
        case _:
            return Advice(
                "No new attempt is needed. See the error of each failed job, then run:", again
            )


_ENDINGS = {
    "running": "in progress when this page was written",
    "succeeded": "all done",
    "partial": "done, some failed",
    "failed": "none succeeded",
    "stopped": "stopped early",
    "interrupted": "interrupted",
}
_BLOCKED = {
    BUDGET_EXHAUSTED: (
        "budget too small for the next job",
        "The budget is too small for the next job. Resume with:",
    ),
    PRICE_ABOVE_CEILING: (
        "price above the declared ceiling",
        (
            "A price is above the declared ceiling. "
            "Raise the ceiling in the manifest, then resume with:"
        ),
    ),
    PRICE_ROSE: (
        "price above every bound",
        "A price is above every bound. Check the price, then resume with:",
    ),
    INSUFFICIENT_CREDITS: (
        "account out of credits",
        "The account is out of credits. Add credits, then resume with:",
    ),
}
"""What blocked the jobs, the first that applies: how the run ended, and what to do next."""
_REFUSED_WITH_CREDITS = (
    "purchase refused for lack of credits",
    "The gateway refused a purchase. Check the account's credits and limits, then resume with:",
)
_OTHERWISE_BLOCKED = (
    "not enough credits",
    "There were not enough credits. Add credits, then resume with:",
)


def ending(head: ReportHead) -> str:
    """Return how the run ended, in a few words."""
    if head.status == RunStatus.BLOCKED:
        return _blocked_words(head)[0]
    if head.status == RunStatus.SUCCEEDED and head.waiting:
        return "waits for picks"
    return _ENDINGS.get(head.status, head.status)


def _blocking_code(head: ReportHead) -> str:
    codes = {stop.code for stop in head.stops.values()}
    return next((code for code in _BLOCKED if code in codes), "")


def _blocked_words(head: ReportHead) -> tuple[str, str]:
    """Return the entry of ``_BLOCKED`` that applies."""
    code = _blocking_code(head)
    if code == INSUFFICIENT_CREDITS:
        step = account_step(stop.hint for stop in head.stops.values())
        if step == CHECK_IT:
            return _REFUSED_WITH_CREDITS
    return _BLOCKED.get(code, _OTHERWISE_BLOCKED)


def _once_blocked(
    head: ReportHead, location: str | Path, again: str, enough: Credits | None
) -> Advice:
    if head.period is not None and head.period.exhausted:
        until = head.period.until
        return Advice(
            f"The budget of the {head.period.per} is used up. Resume after {until} with:", again
        )
    code, text = _blocking_code(head), _blocked_words(head)[1]
    if code != BUDGET_EXHAUSTED:
        return Advice(text, again)
    if enough is None:
        declare = "Set budget.max_credits_per_upload in the manifest, then resume with:"
        return Advice(f"The budget is too small for the next job. {declare}", again)
    budget = max(enough, head.credits.budget or enough)
    return Advice(text, same_command(head, location, budget))
