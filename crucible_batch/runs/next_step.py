"""What to do next after a run: the same on the terminal, on the page of a run, and in messages."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from crucible_batch.core.account_shortage import account_step
from crucible_batch.core.credits import Credits, format_credits
from crucible_batch.core.outcome import RunStatus
from crucible_batch.core.redaction import clean
from crucible_batch.core.retry_rule import Remedy, first_steps, is_access_denied, remedy_for
from crucible_batch.errors import ExitCode
from crucible_batch.features import found
from crucible_batch.journal import Journal
from crucible_batch.report import JobRow, ReportHead, build_rows
from crucible_batch.report.html import Advice, same_command
from crucible_batch.runs.plan_rows import budget_for_remaining
from crucible_batch.runs.request import JobFilter
from crucible_batch.runs.run_journal import location_of, newest_run
from crucible_batch.shell_command import with_budget, with_flag, without_option

NAMES_SHOWN = 3
SOURCES_NAMED = 10
"""The most names in a command that removes picks."""
GET_ACCESS = "ask the gateway's operator for access"
BUYS_AGAIN = "buys again what a lost run directory bought; with a copy of it, that is free"
"""The comment of a command with ``--resubmit-unknown`` for jobs that failed with
``IDEMPOTENCY_KEY_REUSED``."""


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
class NextStep:
    """The next command, with what has to be done first, and a comment on it."""

    command: str
    first: str = ""
    comment: str = ""

    def __str__(self) -> str:
        text = self.command
        if self.comment:
            text += f"   # {self.comment}"
        if self.first:
            text = f"{self.first}, then: {text}"
        return text


@dataclass(frozen=True, slots=True)
class FirstStep:
    """What comes before the next command: another command, or what the user has to do."""

    text: str
    is_command: bool


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


def next_step(
    head: ReportHead,
    command: str,
    failures: list[FailureGroup],
    *,
    run_dir: Path | None = None,
    remake: str | None = None,
    enough: Decimal | None = None,
    never: Set[str] = frozenset(),
) -> NextStep | None:
    """Return what to do next for each kind of ending; None if there is nothing left to do.

    ``command`` resumes the run. ``run_dir`` is needed for a command that corrects the picks.
    ``remake`` is the command that recreates the saved plan that was run, since other options need
    another plan. ``enough`` is a budget for the rest, or None if no budget is enough. ``never`` are
    the codes of failures that no further attempt can change, by the run's retry rule.
    """
    other = remake or command
    again = _resubmitting(command, failures)
    if again is not None:
        return again
    if any(stop.code == "NOT_REMEMBERED" for stop in head.stops.values()):
        words = [word for word in shlex.split(command) if word != "--recover"]
        return NextStep(shlex.join(words), comment="buys the missing jobs")
    match head.exit_code:
        case ExitCode.OK | ExitCode.USER_ERROR:
            return None
        case ExitCode.SOME_FAILED:
            return _once_some_failed(command, other, failures, never, run_dir)
        case _ if head.is_short_of_credits:
            return _once_blocked(head, command, other, enough)
        case ExitCode.STOPPED if any(is_access_denied(stop.code) for stop in head.stops.values()):
            return NextStep(with_flag(other, "--retry-failed"), GET_ACCESS)
        case _:
            return NextStep(command)


def next_of_run(
    head: ReportHead,
    run_dir: Path,
    failures: list[FailureGroup],
    command: str,
    *,
    job_filter: JobFilter | None = None,
    remake: str | None = None,
) -> NextStep | None:
    """Return what to do next after a run, as ``next_step`` does, by what its journal has."""
    with Journal.read(run_dir) as journal:
        enough = _budget_for_rest(journal, head, job_filter or JobFilter())
        never = newest_run(journal).terms.never
    return next_step(
        head, command, failures, run_dir=run_dir, remake=remake, enough=enough, never=never
    )


def _budget_for_rest(journal: Journal, head: ReportHead, job_filter: JobFilter) -> Credits | None:
    if not head.is_short_of_budget:
        return None
    return budget_for_remaining(journal, job_filter)


def next_of_shard(
    head: ReportHead, command: str, failures: list[FailureGroup], merge: str
) -> NextStep:
    """Return what to do next after a shard's run. ``merge`` merges the shards.

    A shard resumes with the same command. What only a larger budget or another manifest can change
    comes after the merge.
    """
    codes = {stop.code for stop in head.stops.values()}
    again = _resubmitting(command, failures)
    if again is not None:
        return again
    match head.exit_code:
        case ExitCode.OUT_OF_CREDITS if "INSUFFICIENT_CREDITS" in codes:
            return NextStep(command, account_step(stop.hint for stop in head.stops.values()))
        case code if code in {ExitCode.OK, ExitCode.SOME_FAILED} or head.is_short_of_credits:
            return NextStep(merge, comment="once all shards have ended")
        case _:
            return NextStep(command)


def command_of_features(run_dir: str | Path, head: ReportHead, command: str) -> str | None:
    """Return the first command that a feature has for a run that has nothing left to do; None if no
    feature has one.

    ``command`` runs it again.
    """
    for feature in found("next_command"):
        after: str | None = feature.next_command(run_dir, head, command)
        if after is not None:
            return after
    return None


def advice_of(journal: Journal, head: ReportHead, directory: Path) -> Advice:
    """Return what to do next in a run directory, as its page shows it."""
    again = same_command(head, location_of(journal, directory))
    newest = newest_run(journal)
    rows = build_rows(journal.jobs(newest.terms.rule), newest.stops)
    step = next_step(
        head,
        again,
        group_failures(head, rows),
        run_dir=directory,
        enough=_budget_for_rest(journal, head, JobFilter()),
        never=newest.terms.never,
    )
    if step is None and head.all_jobs is not None:
        command = command_of_features(directory, head, again) or again
        return Advice(
            f"The jobs of {head.all_jobs.option} are complete. Run all jobs with:", command
        )
    return advice(head, again, step)


def advice(head: ReportHead, again: str, step: NextStep | None) -> Advice:
    """Return the next step of a run as its page shows it. ``again`` resumes the run."""
    if head.shard is not None:  # its plan, and so the command that resumes it, is not known
        return Advice(
            f"The same command resumes shard {head.shard}."
            " Merge the shards once all have ended; the next plan of the run admits what is left."
        )
    if head.status == RunStatus.SUCCEEDED and head.waiting:
        picks = ", ".join(stage.pick for stage in head.waiting)
        return Advice(
            f"All jobs so far are complete. The next stage waits for {picks}."
            " Pick its pictures, select Save picks, then run:",
            again,
        )
    if step is None:
        return Advice("All jobs are complete. Nothing is left to do.")
    text = "Continue with"
    if step.first:
        text = f"{step.first[0].upper()}{step.first[1:]}, then run"
    if step.comment:
        text += f" ({step.comment})"
    return Advice(f"{text}:", step.command)


def _resubmitting(command: str, failures: list[FailureGroup]) -> NextStep | None:
    """Return the command that sends submits without an answer again; None if there are none, or it
    did so."""
    codes = {group.code for group in failures}
    if "KEY_MAY_BE_FORGOTTEN" not in codes or "--resubmit-unknown" in command:
        return None
    return NextStep(
        f"{command} --resubmit-unknown",
        comment="it may be bought twice: check shows what was charged",
    )


def _once_some_failed(
    command: str, other: str, failures: list[FailureGroup], never: Set[str], run_dir: Path | None
) -> NextStep:
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
    return NextStep(again, " and ".join(first), comment)


def _steps_of_features(
    blocked: Mapping[str, FailureGroup], run_dir: Path | None
) -> Iterator[FirstStep]:
    for feature in found("next_command"):
        step: FirstStep | None = feature.first_step(blocked, run_dir)
        if step is not None:
            yield step


def _once_blocked(head: ReportHead, command: str, other: str, enough: Decimal | None) -> NextStep:
    codes, budget = {stop.code for stop in head.stops.values()}, head.credits.budget
    if head.period is not None and head.period.exhausted:
        return NextStep(command, comment=f"from {head.period.until}")
    if "BUDGET_EXHAUSTED" in codes:
        if enough is None:
            return NextStep(other, "set budget.max_credits_per_upload")
        if budget is None or enough > budget:
            return NextStep(with_budget(other, format_credits(enough)))
        if head.exit_code == ExitCode.OUT_OF_CREDITS:
            return NextStep(command)
        return NextStep(other, "raise the budget")
    if "REFUND_MISSING" in codes:
        comment = "later"
        if any("not visible" in stop.message for stop in head.stops.values()):
            comment += "; or run --forget-refunds if the account shows that the credits came back"
        return NextStep(command, comment=comment)
    if "PRICE_ABOVE_CEILING" in codes:
        return NextStep(other, "raise the ceiling in the manifest")
    if "PRICE_ROSE" in codes:
        return NextStep(command, "check the price")
    return NextStep(command, account_step(stop.hint for stop in head.stops.values()))
