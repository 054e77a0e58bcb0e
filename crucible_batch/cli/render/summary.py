"""The summary of a run in at most twelve lines: counts, credits, the place of the results, the next
command.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.text import Text

from crucible_batch.cli.command_line import with_budget, with_flag, without_option
from crucible_batch.cli.terminal import Json, fact, say_sentence
from crucible_batch.cli.units import counted, held_words, paid_before
from crucible_batch.core.account_shortage import account_step
from crucible_batch.core.credits import format_credits
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.core.retry_rule import Remedy, first_steps, is_access_denied, remedy_for
from crucible_batch.errors import ExitCode
from crucible_batch.features import found
from crucible_batch.report import REPORT_FILE, ErrorRow, JobRow, PeriodRow, ReportHead, WaitingRow
from crucible_batch.runs.request import JobFilter
from crucible_batch.runs.status import budget_for_rest, codes_never_retried

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
NAMES_SHOWN = 3
SOURCES_NAMED = 10
"""The most names in a command that removes picks."""
BUYS_AGAIN = "   # buys again what a lost run directory bought; with a copy of it, that is free"
"""The comment of a command with ``--resubmit-unknown`` for jobs that failed with
``IDEMPOTENCY_KEY_REUSED``."""


GET_ACCESS = "ask the gateway's operator for access"


@dataclass(slots=True)
class FailureGroup:
    """Jobs that failed with the same code. ``message`` is that of the first one.

    ``sources`` are the outputs that the first of the jobs are made from, as a picks file names
    them.
    """

    code: str
    message: str
    names: tuple[str, ...]
    count: int
    status: str = "failed"
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FirstStep:
    """What comes before the next command: another command, or what the user has to do."""

    text: str
    is_command: bool


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


def group_failures(head: ReportHead, rows: Iterable[JobRow]) -> list[FailureGroup]:
    """Group failed and unknown jobs by code: failures first, then by size, the largest first.

    Blocked jobs are included if the run was not stopped: then other jobs block them, and not the
    lack of credits. Reads only as many rows as needed.
    """
    groups: dict[tuple[str, str], FailureGroup] = {}
    shown = {"failed", "unknown"}
    if head.exit_code == ExitCode.SOME_FAILED:
        shown.add("blocked")
    counts = head.counts.model_dump()
    left = sum(counts[status] for status in shown)
    if not left:
        return []
    for row in rows:
        if row.status not in shown:
            continue
        left -= 1
        if row.error is not None:
            error = row.error
            group = groups.setdefault(
                (row.status, error.code), FailureGroup(error.code, error.message, (), 0, row.status)
            )
            group.count += 1
            group.names = (*group.names, row.name)[:NAMES_SHOWN]
            if row.source is not None and len(group.sources) <= SOURCES_NAMED:
                source = f"{row.source.name}/{row.source.index}"
                group.sources = tuple(dict.fromkeys((*group.sources, source)))
        if not left:
            break
    order = ("failed", "blocked", "unknown")
    return sorted(groups.values(), key=lambda group: (order.index(group.status), -group.count))


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
    for stage in head.waiting:
        fact(console, "waiting", (waiting_words(stage), "warn"))
    report = "   with report.json" if (run_dir / REPORT_FILE).is_file() else ""
    fact(console, "results", clean_path(run_dir), (report, "quiet"))
    if page is not None and head.counts.succeeded:
        fact(console, "pictures", clean_path(page), ("   open it in a browser", "quiet"))
    if next_step:
        fact(console, "next", (next_step, "command"))


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


def _stops(console: Console, stops: list[ErrorRow]) -> None:
    """Print why the run stopped, and the first stop's hint."""
    for stop in stops[:STOPS_SHOWN]:
        fact(console, "stopped", (f"{clean(stop.code, 60)}: {clean(stop.message, 200)}", "warn"))
    if not stops:
        return
    hint = stops[0].hint
    if hint and not hint.startswith(_SAME_COMMAND):
        fact(console, "hint", clean(hint, 300))


def next_step(
    head: ReportHead,
    command: str,
    failures: list[FailureGroup],
    *,
    run_dir: Path | None = None,
    remake: str | None = None,
    enough: Decimal | None = None,
    never: Set[str] = frozenset(),
) -> str | None:
    """Return the next command for each kind of ending; None if there is nothing left to do.

    If something else has to be done first, the result is a sentence with the command at its end.
    ``run_dir`` is needed for a command that corrects the picks. ``remake`` is the command that
    recreates the saved plan that was run, since other options need another plan. ``enough`` is a
    budget for the rest, or None if no budget is enough. ``never`` are the codes of failures that no
    further attempt can change, by the run's retry rule.
    """
    other = remake or command
    again = _resubmitting(command, failures)
    if again is not None:
        return again
    if any(stop.code == "NOT_REMEMBERED" for stop in head.stops.values()):
        words = [word for word in shlex.split(command) if word != "--recover"]
        return f"{shlex.join(words)}   # buys the missing jobs"
    match head.exit_code:
        case ExitCode.OK | ExitCode.USER_ERROR:
            return None
        case ExitCode.SOME_FAILED:
            return _once_some_failed(command, other, failures, never, run_dir)
        case _ if head.is_short_of_credits:
            return _once_blocked(head, command, other, enough)
        case ExitCode.STOPPED if any(is_access_denied(stop.code) for stop in head.stops.values()):
            return f"{GET_ACCESS}, then: {with_flag(other, '--retry-failed')}"
        case _:
            return command


def next_of_run(
    head: ReportHead,
    run_dir: Path,
    failures: list[FailureGroup],
    command: str,
    *,
    job_filter: JobFilter | None = None,
    remake: str | None = None,
) -> str | None:
    """Return the next command after a run that ``command`` resumes, as ``next_step`` does, by what
    its journal has."""
    enough = None
    if head.is_short_of_budget:
        enough = budget_for_rest(run_dir, job_filter or JobFilter())
    never: Set[str] = frozenset()
    if failures:
        never = codes_never_retried(run_dir)
    return next_step(
        head, command, failures, run_dir=run_dir, remake=remake, enough=enough, never=never
    )


def next_of_shard(head: ReportHead, command: str, failures: list[FailureGroup], merge: str) -> str:
    """Return the next command of a shard's run. ``merge`` merges the shards.

    A shard resumes with the same command. What only a larger budget or another manifest can change
    comes after the merge.
    """
    codes = {stop.code for stop in head.stops.values()}
    again = _resubmitting(command, failures)
    if again is not None:
        return again
    match head.exit_code:
        case ExitCode.OUT_OF_CREDITS if "INSUFFICIENT_CREDITS" in codes:
            return f"{account_step(stop.hint for stop in head.stops.values())}, then: {command}"
        case code if code in {ExitCode.OK, ExitCode.SOME_FAILED} or head.is_short_of_credits:
            return f"{merge}   # once all shards have ended"
        case _:
            return command


def _resubmitting(command: str, failures: list[FailureGroup]) -> str | None:
    """Return the command that sends submits without an answer again; None if there are none, or it
    did so."""
    codes = {group.code for group in failures}
    if "KEY_MAY_BE_FORGOTTEN" not in codes or "--resubmit-unknown" in command:
        return None
    return f"{command} --resubmit-unknown   # it may be bought twice: check shows what was charged"


def _once_some_failed(
    command: str, other: str, failures: list[FailureGroup], never: Set[str], run_dir: Path | None
) -> str:
    # A blocked job follows from a failed one, from a pick, or from the manifest: no attempt at it
    # is made.
    codes = {group.code for group in failures if group.status != "blocked"}
    blocked = {group.code: group for group in failures if group.status == "blocked"}
    first: list[str] = []
    again, comment = command, ""
    match remedy_for(codes, never):
        case Remedy.CHANGE:
            first.append("change the failed jobs")
            again = other
        case Remedy.RETRY | Remedy.BUY_AGAIN | Remedy.GET_ACCESS as remedy:
            if remedy is Remedy.GET_ACCESS:
                first.append(GET_ACCESS)
            again = with_flag(other, "--retry-failed")
            if "IDEMPOTENCY_KEY_REUSED" in codes:
                again = with_flag(again, "--resubmit-unknown")
                comment = BUYS_AGAIN
        case Remedy.CONTINUE:
            first += first_steps({group.code: clean(group.message, 120) for group in failures})
        case _:
            pass
    for step in _steps_of_features(blocked, run_dir):
        if step.is_command:
            again = f"{step.text} && {again}"
        else:
            first.append(step.text)
    if not codes and "SOURCE_FAILED" in blocked:  # --only has left out the failed jobs
        again = f"{without_option(again, '--only')} --retry-failed"
    if "DERIVED_JOB_INVALID" in blocked:
        first.append("change the entry of the blocked jobs")
    if first:
        again = f"{' and '.join(first)}, then: {again}"
    return again + comment


def _steps_of_features(
    blocked: Mapping[str, FailureGroup], run_dir: Path | None
) -> Iterator[FirstStep]:
    for feature in found("next_command"):
        step: FirstStep | None = feature.first_step(blocked, run_dir)
        if step is not None:
            yield step


def _once_blocked(head: ReportHead, command: str, other: str, enough: Decimal | None) -> str:
    codes, budget = {stop.code for stop in head.stops.values()}, head.credits.budget
    if head.period is not None and head.period.exhausted:
        return f"{command}   # from {head.period.until}"
    if "BUDGET_EXHAUSTED" in codes:
        if enough is None:
            return f"set budget.max_credits_per_upload, then: {other}"
        if budget is None or enough > budget:
            return with_budget(other, format_credits(enough))
        if head.exit_code == ExitCode.OUT_OF_CREDITS:
            return command
        return f"raise the budget, then: {other}"
    if "REFUND_MISSING" in codes:
        later = f"{command}   # later"
        if any("not visible" in stop.message for stop in head.stops.values()):
            later += "; or run --forget-refunds if the account shows that the credits came back"
        return later
    if "PRICE_ABOVE_CEILING" in codes:
        return f"raise the ceiling in the manifest, then: {other}"
    if "PRICE_ROSE" in codes:
        return f"check the price, then: {command}"
    return f"{account_step(stop.hint for stop in head.stops.values())}, then: {command}"


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
