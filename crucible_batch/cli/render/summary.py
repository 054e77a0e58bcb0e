"""How a run ended, in ten lines at most: counts, credits, where the results are, what to type next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.text import Text

from crucible_batch.api import clean, format_credits
from crucible_batch.cli.answer import Json
from crucible_batch.cli.terminal import say, tell
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
NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Jobs that failed for the same reason. ``message`` is the first one's."""

    code: str
    message: str
    names: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a run found when it began: jobs that had succeeded already, and credits spent for the directory."""

    succeeded: int
    spent: Decimal


def group_failures(head: ReportHead, rows: Iterable[JobRow]) -> list[FailureGroup]:
    """Group the failed jobs by code, the largest group first. Reads no more rows than it needs."""
    names: dict[str, list[str]] = defaultdict(list)
    counts: dict[str, int] = defaultdict(int)
    messages: dict[str, str] = {}
    left = head.counts.failed
    for row in rows if left else ():
        if row.status != "failed" or row.error is None:
            continue
        code = row.error.code
        counts[code] += 1
        messages.setdefault(code, row.error.message)
        if len(names[code]) < NAMES_SHOWN:
            names[code].append(row.name)
        left -= 1
        if not left:
            break
    groups = [FailureGroup(code, messages[code], tuple(names[code]), counts[code]) for code in counts]
    return sorted(groups, key=lambda group: -group.count)


def show_summary(
    console: Console,
    head: ReportHead,
    run_dir: Path,
    *,
    failures: list[FailureGroup],
    next_step: str | None,
    tail: str = "",
    earlier: Earlier | None = None,
    page: Path | None = None,
) -> None:
    """Print the summary. ``tail`` goes to the end of the first line; ``page`` is where a page was made."""
    tell(console, _headline(head, tail, earlier))
    for group in failures[:FAILURES_SHOWN]:
        names = ", ".join(clean(name, 60) for name in group.names) + (" …" if group.count > len(group.names) else "")
        _line(console, "failed", f"{clean(group.code, 60)} × {group.count}: {names}", "bad")
        if len(failures) == 1:
            say(console, " " * 11, (clean(group.message, 200), "quiet"))
    for stop in list({stop.code: stop for stop in head.stops.values()}.values())[:2]:
        _line(console, "stopped", f"{clean(stop.code, 60)}: {clean(stop.message, 200)}", "warn")
    _line(console, "credits", credits_words(head, earlier))
    for note in head.notes[:2]:
        _line(console, "note", clean(note, 300), "quiet")
    say(console, ("  results  ", "label"), clean(str(run_dir), 4000), ("   with report.json", "quiet"))
    if page is not None:
        say(console, ("  pictures ", "label"), clean(str(page), 4000), ("   open it in a browser", "quiet"))
    if next_step:
        say(console, ("  next     ", "label"), (next_step, "command"))


def next_step(head: ReportHead, command: str, failures: list[FailureGroup], *, remake: str | None = None) -> str | None:
    """Say what to type next, for each kind of ending; None where there is nothing left to do.

    ``remake`` makes the saved plan anew that was followed: only another plan can say anything else.
    """
    other = remake or command
    match head.exit_code:
        case ExitCode.OK | ExitCode.USER_ERROR:
            return None
        case ExitCode.SOME_FAILED:
            paid = {"OUTPUT_UNAVAILABLE", "OUTPUT_EXISTS", "LOST_BY_GATEWAY"}
            again = [group for group in failures if group.code not in paid]
            return f"{other} --retry-failed" if again and "--retry-failed" not in other else command
        case ExitCode.OUT_OF_CREDITS:
            codes = {stop.code for stop in head.stops.values()}
            if "BUDGET_EXHAUSTED" in codes:
                return f"{other} --budget N" if "--budget" not in other else f"{other}   # with a higher --budget"
            if "PRICE_ABOVE_CEILING" in codes:
                return f"{other}   # with a higher budget.max_credits_per_job in the manifest"
            return f"{command}   # once the account has credits"
        case _:
            return command


def head_json(head: ReportHead, run_dir: Path, page: Path | None = None) -> dict[str, Json]:
    """Return a report without its jobs as JSON, and where it and its page lie."""
    where: dict[str, Json] = {"run_dir": str(run_dir), "report": str(run_dir / REPORT_FILE)}
    if page is not None:
        where["page"] = str(page)
    return {**where, **head.model_dump(mode="json")}


def credits_words(head: ReportHead, earlier: Earlier | None = None) -> str:
    """Say what was spent, on what, and what is held."""
    books = head.credits
    parts = [f"{format_credits(books.spent)} spent"]
    if earlier is not None and earlier.spent:
        now = max(books.spent - earlier.spent, ZERO)
        parts = [f"{format_credits(now)} spent by this run", f"{format_credits(books.spent)} by all"]
    if books.uploads:
        less = f", less {format_credits(books.rebates)} in rebates" if books.rebates else ""
        parts[-1] += f" ({format_credits(books.jobs)} for jobs, {format_credits(books.uploads)} for uploads{less})"
    if books.refunded:
        parts.append(f"{format_credits(books.refunded)} refunded")
    if books.held:
        parts.append(f"{format_credits(books.held)} held")
    parts.append("no budget" if books.budget is None else f"budget {format_credits(books.budget)}")
    if books.over_budget:
        parts.append(f"{format_credits(books.over_budget)} OVER BUDGET")
    return " · ".join(parts)


def _headline(head: ReportHead, tail: str, earlier: Earlier | None) -> Text:
    counts = head.counts
    mark, style = _MARKS.get(head.exit_code, ("✗", "bad"))
    text = Text.assemble((f"{mark} ", style), (f"{counts.succeeded} of {counts.total} jobs succeeded", "bold"))
    if earlier is not None and earlier.succeeded:
        all_of_them = earlier.succeeded == counts.total
        text.append(", all of them earlier" if all_of_them else f", {earlier.succeeded} of them earlier", style="dim")
    for count, word, style in (
        (counts.failed, "failed", "bad"),
        (counts.blocked, "blocked", "warn"),
        (counts.unknown, "unknown", "warn"),
        (counts.pending, "pending", "warn"),
    ):
        if count:
            text.append(f", {count} {word}", style=style)
    return text.append(f"   {clean(head.manifest.name)} · {clean(head.run_id)}{tail}", style="dim")


def _line(console: Console, label: str, text: str, style: str = "") -> None:
    say(console, (f"  {label:<8} ", "label"), (text, style))
