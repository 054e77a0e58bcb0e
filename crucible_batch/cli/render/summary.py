"""The summary of a run in at most ten lines: counts, credits, the place of the results, the next command."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.text import Text

from crucible_batch.api import clean, format_credits
from crucible_batch.cli.command_line import with_budget
from crucible_batch.cli.terminal import Json, say, tell
from crucible_batch.errors import ExitCode
from crucible_batch.report import REPORT_FILE, JobRow, ReportHead

_MARKS: dict[int | None, tuple[str, str]] = {
    ExitCode.OK: ("✓", "good"),
    ExitCode.OUT_OF_CREDITS: ("!", "warn"),
    ExitCode.SIGINT: ("!", "warn"),
    ExitCode.SIGTERM: ("!", "warn"),
    None: ("…", "busy"),  # running, or killed
}
ZERO = Decimal(0)
FAILURES_SHOWN = 3
_NOT_TRIED_AGAIN = {"OUTPUT_UNAVAILABLE", "LOST_BY_GATEWAY", "OUTPUT_EXISTS", "IDEMPOTENCY_KEY_REUSED"}
"""Failures that another attempt doesn't fix, since the job is already paid for."""
_SAME_COMMAND = "run the same command again to go on"
"""A hint that is redundant with the line of the next command."""
STOPS_SHOWN = 2
NOTES_BESIDE = 5
"""The number of lines for failures, stops and notes: ten lines less the headline, the credits and the next steps."""

NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Jobs that failed for the same reason. ``message`` is that of the first one."""

    code: str
    message: str
    names: tuple[str, ...]
    count: int
    status: str = "failed"


@dataclass(frozen=True, slots=True)
class EarlierRuns:
    """The state that a run began with: jobs that had already succeeded, and credits spent for the directory.

    ``counts`` are the outcomes of the jobs that the run included; with ``--only`` these aren't all jobs.
    """

    succeeded: int
    spent: Decimal
    counts: Mapping[str, int] | None = None


def group_failures(head: ReportHead, rows: Iterable[JobRow]) -> list[FailureGroup]:
    """Group failed and unknown jobs by code: failures first, then by size, the largest first.

    Reads only as many rows as needed.
    """
    names: dict[tuple[str, str], list[str]] = defaultdict(list)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    messages: dict[tuple[str, str], str] = {}
    left = head.counts.failed + head.counts.unknown
    for row in rows if left else ():
        if row.status not in {"failed", "unknown"}:
            continue
        left -= 1
        if row.error is not None:
            group = (row.status, row.error.code)
            counts[group] += 1
            messages.setdefault(group, row.error.message)
            if len(names[group]) < NAMES_SHOWN:
                names[group].append(row.name)
        if not left:
            break
    groups = [
        FailureGroup(code, messages[status, code], tuple(names[status, code]), counts[status, code], status)
        for status, code in counts
    ]
    return sorted(groups, key=lambda group: (group.status, -group.count))


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
    """Print the summary. ``tail`` is appended to the first line; ``page`` is the path of the report page, if any."""
    tell(console, _headline(head, tail, earlier))
    for group in failures[:FAILURES_SHOWN]:
        names = ", ".join(clean(name, 60) for name in group.names) + (" …" if group.count > len(group.names) else "")
        _line(
            console,
            group.status,
            f"{clean(group.code, 60)} × {group.count}: {names}",
            "bad" if group.status == "failed" else "warn",
        )
        if len(failures) == 1:
            say(console, " " * 11, (clean(group.message, 200), "quiet"))
    explained = len(failures[:FAILURES_SHOWN]) + (len(failures) == 1)
    explained += _stops(console, head, room=NOTES_BESIDE - explained)
    _line(console, "credits", credits_words(head, earlier))
    for note in head.notes[: max(0, NOTES_BESIDE - explained)][:2]:
        _line(console, "note", clean(note, 300), "quiet")
    report = "   with report.json" if (run_dir / REPORT_FILE).is_file() else ""
    say(console, ("  results  ", "label"), clean(str(run_dir), 4000), (report, "quiet"))
    if page is not None:
        say(console, ("  pictures ", "label"), clean(str(page), 4000), ("   open it in a browser", "quiet"))
    if next_step:
        say(console, ("  next     ", "label"), (next_step, "command"))


def _stops(console: Console, head: ReportHead, *, room: int) -> int:
    """Print why the run stopped, and the first stop's hint; return the number of lines printed."""
    stops = list({stop.code: stop for stop in head.stops.values()}.values())
    hint = stops[0].hint if stops and stops[0].hint != _SAME_COMMAND else None
    shown = stops[: min(STOPS_SHOWN, room - bool(hint))]
    for at, stop in enumerate(shown):
        _line(console, "stopped", f"{clean(stop.code, 60)}: {clean(stop.message, 200)}", "warn")
        if hint and not at:
            _line(console, "hint", clean(hint, 300))
    return len(shown) + bool(hint)


def is_short_of_budget(head: ReportHead) -> bool:
    """Return whether a run ended because the next job didn't fit the budget."""
    return head.exit_code == ExitCode.OUT_OF_CREDITS and any(
        stop.code == "BUDGET_EXHAUSTED" for stop in head.stops.values()
    )


def next_step(
    head: ReportHead,
    command: str,
    failures: list[FailureGroup],
    *,
    remake: str | None = None,
    enough: Decimal | None = None,
) -> str | None:
    """Return the next command for each kind of ending; None if there is nothing left to do.

    If something else has to be done first, the result is a sentence with the command at its end.
    ``remake`` is the command that recreates the saved plan that was run, since other options need another plan.
    ``enough`` is the budget that covers the rest, or None if that isn't known.
    """
    other = remake or command
    codes = {group.code for group in failures}
    if "KEY_MAY_BE_FORGOTTEN" in codes and "--resubmit-unknown" not in command:
        return f"{command} --resubmit-unknown   # it may be bought twice: audit shows what was charged"
    match head.exit_code:
        case ExitCode.OK | ExitCode.USER_ERROR:
            return None
        case ExitCode.SOME_FAILED:
            again = [group for group in failures if group.code not in _NOT_TRIED_AGAIN]
            return f"{other} --retry-failed" if again and "--retry-failed" not in other else command
        case ExitCode.OUT_OF_CREDITS:
            return _once_blocked(head, command, other, enough)
        case _:
            return command


def _once_blocked(head: ReportHead, command: str, other: str, enough: Decimal | None) -> str:
    codes, budget = {stop.code for stop in head.stops.values()}, head.credits.budget
    if "BUDGET_EXHAUSTED" in codes:
        if enough is None or budget is None:
            than = "" if budget is None else f" than {format_credits(budget)}"
            return f"choose a higher budget{than}, then: {with_budget(other, 'N')}"
        return with_budget(other, format_credits(enough)) if enough > budget else command
    if "PRICE_ABOVE_CEILING" in codes:
        return f"raise the ceiling in the manifest, then: {other}"
    if "PRICE_ROSE" in codes:
        return f"look into the price, then: {command}"
    return f"top the account up, then: {command}"


def head_json(head: ReportHead, run_dir: Path, page: Path | None = None) -> dict[str, Json]:
    """Return a report without its jobs as JSON, with the paths of the report and its page."""
    where: dict[str, Json] = {"run_dir": str(run_dir), "report": str(run_dir / REPORT_FILE)}
    if page is not None:
        where["page"] = str(page)
    return {**where, **head.model_dump(mode="json")}


def credits_words(head: ReportHead, earlier: EarlierRuns | None = None) -> str:
    """Return what was spent, on what, and what is held."""
    books = head.credits
    parts = [f"{format_credits(books.spent)} spent"]
    if earlier is not None and earlier.spent and not books.reused:
        now = max(books.spent - earlier.spent, ZERO)
        parts = [f"{format_credits(now)} spent by this run", f"{format_credits(books.spent)} by all"]
    if books.uploads:
        less = f", less {format_credits(books.rebates)} in rebates" if books.rebates else ""
        parts[-1] += f" ({format_credits(books.jobs)} for jobs, {format_credits(books.uploads)} for uploads{less})"
    if books.reused:
        parts.append(f"{format_credits(books.reused)} of it found again, not bought")
    if books.refunded:
        parts.append(f"{format_credits(books.refunded)} refunded")
    if books.held:
        parts.append(f"{format_credits(books.held)} held")
    parts.append("no budget" if books.budget is None else f"budget {format_credits(books.budget)}")
    if books.over_budget:
        parts.append(f"{format_credits(books.over_budget)} OVER BUDGET")
    if count := books.price_differs_jobs:
        jobs = "1 job differs" if count == 1 else f"{count} jobs differ"
        parts.append(f"price of {jobs} by {format_credits(books.price_differs)} IN THE GATEWAY'S RECORD")
    return " · ".join(parts)


def _headline(head: ReportHead, tail: str, earlier: EarlierRuns | None) -> Text:
    counts = earlier.counts if earlier is not None and earlier.counts is not None else head.counts.model_dump()
    words = ("succeeded", "failed", "blocked", "unknown", "pending")
    succeeded, total = counts.get("succeeded", 0), sum(counts.get(word, 0) for word in words)
    is_whole = total == head.counts.total
    mark, style = _MARKS.get(head.exit_code, ("✗", "bad"))
    text = Text.assemble(
        (f"{mark} ", style), (f"{succeeded} of {total} {'' if is_whole else 'chosen '}jobs succeeded", "bold")
    )
    if earlier is not None and earlier.succeeded:
        all_of_them = earlier.succeeded == total
        text.append(", all of them earlier" if all_of_them else f", {earlier.succeeded} of them earlier", style="dim")
    for word in words[1:]:
        if count := counts.get(word, 0):
            text.append(f", {count} {word}", style="bad" if word == "failed" else "warn")
    whole = "" if is_whole else f" · {head.counts.total} jobs in all"
    return text.append(f"   {clean(head.manifest.name)} · {clean(head.run_id)}{whole}{tail}", style="dim")


def _line(console: Console, label: str, text: str, style: str = "") -> None:
    say(console, (f"  {label:<8} ", "label"), (text, style))
