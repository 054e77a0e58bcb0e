"""The summary of a run in at most fourteen lines: counts, credits, checks, the place of the
results, the next command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.text import Text

from crucible_batch.cli.terminal import Json, fact, say_sentence
from crucible_batch.cli.units import counted, format_duration, held_words, paid_before
from crucible_batch.core.credits import format_credits
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.errors import ExitCode
from crucible_batch.report import (
    REPORT_FILE,
    AfterRow,
    AllJobsRow,
    ChecksRow,
    ErrorRow,
    PeriodRow,
    ReportHead,
    WaitingRow,
)
from crucible_batch.runs.next_step import FailureGroup

_MARKS: dict[int | None, tuple[str, str]] = {
    ExitCode.OK: ("✓", "good"),
    ExitCode.OUT_OF_CREDITS: ("!", "warn"),
    ExitCode.SIGINT: ("!", "warn"),
    ExitCode.SIGTERM: ("!", "warn"),
    None: ("…", "busy"),  # running, or killed
}
ZERO = Decimal(0)
FAILURES_SHOWN = 3
_SAME_COMMAND = "run the same command again to "
"""How a hint begins that is redundant with the line of the next command."""
STOPS_SHOWN = 2


@dataclass(frozen=True, slots=True)
class EarlierRuns:
    """The state that a run began with: jobs that had already succeeded, and credits that the
    directory had paid.

    ``counts`` are the outcomes of the jobs that the run included; with ``--only`` these aren't all
    jobs.
    """

    succeeded: int
    bought: Decimal
    counts: Mapping[str, int] | None = None


def show_summary(
    console: Console,
    head: ReportHead,
    run_dir: Path,
    *,
    failures: list[FailureGroup],
    next_step: str | None,
    tail: str = "",
    earlier: EarlierRuns | None = None,
    page: Path | None = None,
) -> None:
    """Print the summary. ``tail`` is appended to the first line; ``page`` is the path of the report
    page, if any.

    The page is shown only if there are pictures in it.
    """
    say_sentence(console, _headline(head, tail, earlier))
    stops = list({stop.code: stop for stop in head.stops.values()}.values())
    _failures(console, failures)
    _stops(console, stops)
    fact(console, "credits", credits_words(head, earlier))
    for note in head.notes[: 1 if stops else 2]:
        fact(console, "note", (clean(note, 300), "quiet"))
    if head.checks is not None:
        _checks(console, head.checks)
    if head.after is not None:
        _after(console, head.after)
    for stage in head.waiting:
        fact(console, "waiting", (waiting_words(stage), "warn"))
    if head.all_jobs is not None:
        fact(console, "all jobs", all_jobs_words(head.all_jobs))
    if head.takes:
        fact(console, "takes", f"{counted(head.takes, 'output')} of earlier tries kept")
    report = "   with report.json" if (run_dir / REPORT_FILE).is_file() else ""
    fact(console, "results", clean_path(run_dir), (report, "quiet"))
    if page is not None and head.counts.succeeded:
        fact(console, "pictures", clean_path(page), ("   open it in a browser", "quiet"))
    if next_step:
        fact(console, "next", (next_step, "command"))


def all_jobs_words(estimate: AllJobsRow) -> str:
    words = (
        f"about {format_credits(estimate.credits)} credits for "
        f"{counted(estimate.jobs, 'job')}: "
        f"{format_credits(estimate.more_credits)} more than so far"
    )
    if estimate.unknown_prices:
        unknown = ", ".join(clean(each, 60) for each in estimate.unknown_prices)
        words += f", without {unknown} (price not known yet)"
    if estimate.more_seconds is not None:
        words += f", in {format_duration(estimate.more_seconds, whole=True)} at this pace"
    return words


def waiting_words(stage: WaitingRow) -> str:
    choices = f"{counted(stage.choices, 'job')} named {clean(stage.sources, 80)}"
    return (
        f"{clean(stage.name, 80)} waits for {clean(stage.pick, 200)}: "
        f"pick from {choices}, then run the same command again"
    )


def _failures(console: Console, failures: list[FailureGroup]) -> None:
    """Print the largest groups of failures; of a single one also the message of its first job."""
    for group in failures[:FAILURES_SHOWN]:
        names = ", ".join(clean(name, 60) for name in group.names)
        if group.count > len(group.names):
            names += " …"
        text = f"{clean(group.code, 60)} × {group.count}: {names}"
        fact(console, group.status, (text, "bad" if group.status == "failed" else "warn"))
        if len(failures) == 1:
            fact(console, "", (clean(group.message, 200), "quiet"))


def _checks(console: Console, checks: ChecksRow) -> None:
    """Print how many outputs did not pass the checks, and which ones these were."""
    counts = (
        (checks.flagged, "flagged"),
        (checks.rejected, "rejected"),
        (checks.failed, "failed"),
        (checks.unchecked, "could not be checked"),
    )
    words = [f"{count} {word}" for count, word in counts if count]
    if not words:
        fact(console, "checks", f"{counted(checks.checked, 'output')} passed")
        return
    if checks.by_check:
        kinds = [f"{name} × {count}" for name, count in checks.by_check.items()]
        words.append(", ".join(kinds))
    style = "bad" if checks.failed else "warn"
    fact(console, "checks", (" · ".join(words), style))


def _after(console: Console, after: AfterRow) -> None:
    """Print for how many outputs the command of ``after`` was run."""
    counts = ((after.failed, "failed"), (after.waiting, "not run yet"))
    left = [f"{count} {word}" for count, word in counts if count]
    words = [f"run for {counted(after.done, 'output')}", *left]
    fact(console, "after", (" · ".join(words), "warn" if left else ""))


def _stops(console: Console, stops: list[ErrorRow]) -> None:
    """Print why the run stopped, and the first stop's hint."""
    for stop in stops[:STOPS_SHOWN]:
        fact(console, "stopped", (f"{clean(stop.code, 60)}: {clean(stop.message, 200)}", "warn"))
    if not stops:
        return
    hint = stops[0].hint
    if hint and not hint.startswith(_SAME_COMMAND):
        fact(console, "hint", clean(hint, 300))


def head_json(head: ReportHead, run_dir: Path, page: Path | None = None) -> dict[str, Json]:
    """Return a report without its jobs as JSON, with the paths of the report and its page."""
    where: dict[str, Json] = {"run_dir": str(run_dir), "report": str(run_dir / REPORT_FILE)}
    if page is not None:
        where["page"] = str(page)
    return {**where, **head.model_dump(mode="json")}


def credits_words(head: ReportHead, earlier: EarlierRuns | None = None) -> str:
    amounts = head.credits
    parts = [f"{format_credits(amounts.bought)} spent"]
    if earlier is not None and earlier.bought:
        now = max(amounts.bought - earlier.bought, ZERO)
        parts = [
            f"{format_credits(now)} spent by this run",
            f"{format_credits(amounts.bought)} by all runs",
        ]
    if amounts.uploads:
        jobs = format_credits(amounts.jobs - amounts.reused)
        bought = f"{jobs} for jobs, {format_credits(amounts.uploads)} for uploads"
        if amounts.rebates:
            bought += f", less {format_credits(amounts.rebates)} in rebates"
        parts[-1] += f" ({bought})"
    if amounts.reused:
        parts.append(paid_before(amounts.reused))
    if amounts.refunded:
        parts.append(f"{format_credits(amounts.refunded)} refunded")
    if amounts.held:
        parts.append(held_words(amounts.held, amounts.held_for_refunds))
    if amounts.forgotten_refunds:
        parts.append(f"{format_credits(amounts.forgotten_refunds)} released by --forget-refunds")
    if amounts.budget is None:
        parts.append("no budget")
    elif head.period is None:
        parts.append(f"budget {format_credits(amounts.budget)}")
    else:
        parts.append(
            f"allowance {format_credits(amounts.budget)} within the budget of the {head.period.per}"
        )
    if head.period is not None:
        parts.append(_period_words(head.period))
    if amounts.over_budget:
        parts.append(f"{format_credits(amounts.over_budget)} OVER BUDGET")
    if amounts.price_differs_jobs:
        parts.append(_difference_words(amounts.price_differs_jobs, amounts.price_differs))
    return " · ".join(parts)


def _difference_words(count: int, credits: Decimal) -> str:
    jobs = "1 job differs" if count == 1 else f"{count} jobs differ"
    return f"price of {jobs} by {format_credits(credits)} IN THE GATEWAY'S RECORD"


_PERIODS = {"day": "today", "week": "this week", "month": "this month"}


def allowance_of(head: ReportHead) -> str | None:
    """Return which budget the run's is an allowance of, as in ``Balance``; None if it is not that
    of a period."""
    if head.period is None:
        return None
    return f"{head.period.account}, {_PERIODS[head.period.per]}"


def _period_words(period: PeriodRow) -> str:
    spent, limit = format_credits(period.spent), format_credits(period.limit)
    words = f"{clean(period.account)}: {spent} of {limit} spent {_PERIODS[period.per]}"
    if period.set_aside:
        words += f", {format_credits(period.set_aside)} set aside"
    return words


def _headline(head: ReportHead, tail: str, earlier: EarlierRuns | None) -> Text:
    counts: Mapping[str, int] = head.counts.model_dump()
    if earlier is not None and earlier.counts is not None:
        counts = earlier.counts
    words = ("succeeded", "failed", "blocked", "unknown", "pending")
    succeeded, total = counts.get("succeeded", 0), sum(counts.get(word, 0) for word in words)
    is_whole = total == head.counts.total
    mark, style = _MARKS.get(head.exit_code, ("✗", "bad"))
    jobs = "jobs" if is_whole else "selected jobs"
    text = Text.assemble((f"{mark} ", style), (f"{succeeded} of {total} {jobs} succeeded", "bold"))
    if earlier is not None and earlier.succeeded:
        of_them = str(earlier.succeeded)
        if earlier.succeeded == total:
            of_them = "all"
        text.append(f", {of_them} of them earlier", style="dim")
    for word in words[1:]:
        count = counts.get(word, 0)
        if count:
            text.append(f", {count} {word}", style="bad" if word == "failed" else "warn")
    run = f"{clean(head.manifest.name)} · {clean(head.run_id)}"
    if head.shard is not None:
        run += f" · shard {clean(head.shard)}"
    if not is_whole:
        run += f" · {head.counts.total} jobs in total"
    return text.append(f"   {run}{tail}", style="dim")
