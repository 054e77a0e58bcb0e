"""How a run ended: as text, in the envelope, in the log, and by the exit code."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from crucible_batch.cli.command_output import CommandLog, CommandOutput
from crucible_batch.cli.logs.entries import counts_words
from crucible_batch.cli.redaction import redacted
from crucible_batch.cli.render.summary import (
    EarlierRuns,
    credits_words,
    head_json,
    show_summary,
)
from crucible_batch.cli.terminal import fact, say
from crucible_batch.cli.units import format_duration
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.errors import ExitCode
from crucible_batch.report import REPORT_FILE, JobRow, ReportHead
from crucible_batch.runs.next_step import (
    FailureGroup,
    command_of_features,
    group_failures,
    next_of_run,
    next_of_shard,
)
from crucible_batch.runs.request import JobFilter
from crucible_batch.runs.running import RunResult


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A finished run, its duration, and the state that it began with."""

    result: RunResult
    took_s: float
    earlier: EarlierRuns | None


def show_run_ending(
    output: CommandOutput, ran: FinishedRun, job_filter: JobFilter, *, command: str | None
) -> None:
    """Show how a run ended. ``command`` resumes it; None if it can't be resumed."""
    result, head = ran.result, ran.result.report
    failures = group_failures(head, filter(partial(_is_of_run, job_filter), result.jobs()))
    what_next = None
    if command is not None:
        what_next = _next_command(result, job_filter, failures, command)
    output.data = head_json(head, result.run_dir, result.page)
    if result.outputs_at is not None:
        output.data = {**output.data, "outputs_at": result.outputs_at}
    tail = f" · {format_duration(ran.took_s)}"
    show_ending(output, result, failures, what_next, tail=tail, earlier=ran.earlier)


def _is_of_run(job_filter: JobFilter, row: JobRow) -> bool:
    source = None if row.source is None else row.source.name
    return job_filter.takes(row.name, source)


def _next_command(
    result: RunResult, job_filter: JobFilter, failures: list[FailureGroup], command: str
) -> str | None:
    head = result.report
    if result.merge is not None:
        return str(next_of_shard(head, command, failures, result.merge))
    step = next_of_run(
        head, result.run_dir, failures, command, job_filter=job_filter, remake=result.remake
    )
    if step is None:
        return command_of_features(result.run_dir, head, result.remake or command)
    return str(step)


def show_ending(
    output: CommandOutput,
    result: RunResult,
    failures: list[FailureGroup],
    what_next: str | None,
    *,
    tail: str,
    earlier: EarlierRuns | None = None,
) -> None:
    """Show how a run, or a merged run, ended; ``answer.data`` is left as it is.

    ``tail`` is added to the first line.
    """
    head = result.report
    if not result.ok:
        _blame(output, head, result.exit_code, what_next)
    run = output.subject or f"{head.manifest.name}/{head.run_id}"
    line = _line(run, head, result.run_dir, failures, result.exit_code)
    if output.log is not None:
        _log(output, output.log, result, line, what_next)
    output.is_failure_shown = True
    if output.quiet and not result.ok and not output.log_is_on_stderr:
        say(output.err, redacted(line))
    if not output.quiet and not output.log_is_on_stdout:
        show_summary(
            output.out,
            head,
            result.run_dir,
            failures=failures,
            next_step=what_next,
            tail=tail,
            page=result.page,
            earlier=earlier,
        )
        if result.outputs_at is not None:
            fact(output.out, "outputs", clean_path(result.outputs_at))


def _log(
    output: CommandOutput, log: CommandLog, result: RunResult, line: str, what_next: str | None
) -> None:
    if what_next and output.log_is_on_stdout:
        line += f"; next: {what_next}"
    code = None
    if output.error is not None:
        code = str(output.error["code"])
    facts = head_json(result.report, result.run_dir, result.page)
    names = ("status", "exit_code", "counts", "credits", "run_dir", "report", "page")
    data = {name: facts[name] for name in names if name in facts}
    log.result(line, result.exit_code, code, data)


def _blame(
    output: CommandOutput, head: ReportHead, exit_code: ExitCode, what_next: str | None
) -> None:
    """Record the first reason for which the run stopped, else that not all jobs succeeded."""
    stop = next(iter(head.stops.values()), None)
    if stop is not None:
        output.blame(stop.code, stop.message, stop.hint, stop.request_id, exit_code=exit_code)
    else:
        message = f"{head.counts.succeeded} of {head.counts.total} jobs succeeded"
        output.blame("JOBS_NOT_DONE", message, what_next, exit_code=exit_code)


def _line(
    run: str, head: ReportHead, run_dir: Path, failures: list[FailureGroup], exit_code: int
) -> str:
    """Return in one line how a run ended, with its first cause, exit code and report."""
    parts = [
        f"{clean(run)}: {counts_words(head.counts.model_dump())}",
        credits_words(head),
        *_first_cause(head, failures),
    ]
    if head.period is not None and head.period.exhausted:
        parts.append(f"more from {head.period.until}")
    parts += [f"exit code {int(exit_code)}", f"report {clean_path(run_dir / REPORT_FILE)}"]
    return "; ".join(parts)


def _first_cause(head: ReportHead, failures: list[FailureGroup]) -> list[str]:
    causes = [f"{stop.code}: {stop.message}" for stop in head.stops.values()]
    causes += [f"{group.code}: {group.message}" for group in failures]
    return [clean(cause, 300) for cause in causes[:1]]
