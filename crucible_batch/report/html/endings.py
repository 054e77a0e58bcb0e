"""How a run ended, in words, and the command that continues it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crucible_batch.core.account_shortage import CHECK_IT, INSUFFICIENT_CREDITS, account_step
from crucible_batch.core.budget import (
    BUDGET_EXHAUSTED,
    PRICE_ABOVE_CEILING,
    PRICE_ROSE,
)
from crucible_batch.core.credits import format_credits
from crucible_batch.core.outcome import RunStatus
from crucible_batch.report.models import ReportHead
from crucible_batch.shell_command import DEFAULT_DIRECTORY, run_command


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do next; ``command`` is None if there is no command to run."""

    text: str
    command: str | None = None


def same_command(head: ReportHead, location: str | Path) -> str:
    """Return the command that continues this run directory, with its budget.

    ``location`` is the directory, or the URL of the outputs if they are in an object store.
    """
    options = []
    # The budget of a run with a period is what the period had left, which changes.
    is_needed = head.budget_source == "command" and head.period is None
    if is_needed and head.credits.budget is not None:
        options = ["--budget", format_credits(head.credits.budget)]
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


_ENDINGS = {
    "running": "in progress when this page was written",
    "succeeded": "all done",
    "partial": "done, some failed",
    "failed": "none succeeded",
    "stopped": "stopped early",
    "interrupted": "interrupted",
}
_BLOCKED = {
    BUDGET_EXHAUSTED: "budget too small for the next job",
    PRICE_ABOVE_CEILING: "price above the declared ceiling",
    PRICE_ROSE: "price above every bound",
    INSUFFICIENT_CREDITS: "account out of credits",
}
"""What blocked the jobs, the first that applies."""


def ending(head: ReportHead) -> str:
    """Return how the run ended, in a few words."""
    if head.status == RunStatus.BLOCKED:
        return _blocked_words(head)
    if head.status == RunStatus.SUCCEEDED and head.waiting:
        return "waits for picks"
    return _ENDINGS.get(head.status, head.status)


def _blocked_words(head: ReportHead) -> str:
    codes = {stop.code for stop in head.stops.values()}
    code = next((code for code in _BLOCKED if code in codes), "")
    hints = (stop.hint for stop in head.stops.values())
    if code == INSUFFICIENT_CREDITS and account_step(hints) == CHECK_IT:
        return "purchase refused for lack of credits"
    return _BLOCKED.get(code, "not enough credits")
