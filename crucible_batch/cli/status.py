"""The ``status`` and ``report`` commands. Neither contacts the gateway."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from crucible_batch.cli.command_line import merge_command
from crucible_batch.cli.command_output import CommandOutput, rfc3339
from crucible_batch.cli.display.progress_state import ProgressState
from crucible_batch.cli.display.progress_text import (
    LABEL,
    bar,
    elapsed,
    error_parts,
    output_parts,
    pace_parts,
    rows,
    task_row,
)
from crucible_batch.cli.render.elsewhere import is_report_shown
from crucible_batch.cli.render.summary import (
    allowance_of,
    head_json,
    show_summary,
)
from crucible_batch.cli.terminal import Json, fact, say, working
from crucible_batch.cli.units import format_duration
from crucible_batch.core.control import PausedSince
from crucible_batch.core.credits import format_credits
from crucible_batch.core.progress import Balance
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.core.run_options import FeatureOptions
from crucible_batch.errors import ExitCode
from crucible_batch.report import PAGE_FILE, REPORT_FILE
from crucible_batch.runs.next_step import (
    FailureGroup,
    command_of_features,
    group_failures,
    next_of_run,
)
from crucible_batch.runs.reporting import write_report_again
from crucible_batch.runs.shard_notes import describe_shards
from crucible_batch.runs.status import Progress, Status, read_status
from crucible_batch.shell_command import DEFAULT_DIRECTORY, run_command, shell_command

WIDEST = 100
_INDENT = 2


def show_progress(
    console: Console, found: Progress, balance: Balance, now: float, *, is_paused: bool
) -> None:
    """Print a run's progress: the oldest jobs in flight, the rate and the estimated time left.

    The latter two are left out in a pause.
    """
    state = ProgressState.of(found, balance)
    width = min(console.width, WIDEST) - _INDENT
    lines = [bar(state, width)]
    label = "oldest"
    for task in state.oldest(len(found.oldest)):
        lines += rows(label, [task_row(task, now, width - LABEL)], width)
        label = ""
    pace = [f"{elapsed(now - found.began_at)} so far"]
    if not is_paused:
        pace = [*pace_parts(state, now), *pace]
    for label, parts, style in (
        ("outputs", output_parts(state), ""),
        ("pace", pace, ""),
        ("errors", error_parts(state), "red"),
    ):
        if parts:
            lines += rows(label, parts, width, style)
    for line in lines:
        line.pad_left(_INDENT)
        console.print(line)


def progress_json(found: Progress, balance: Balance, now: float) -> Json:
    """Return the progress as JSON; ``left_s`` is null while there is no estimate."""
    left = ProgressState.of(found, balance).left(now)
    estimate: dict[str, Json] = {"left_s": None, "left_low_s": None, "left_high_s": None}
    if left is not None:
        estimate["left_s"] = round(left.likely_s, 1)
        estimate["left_low_s"] = round(left.low_s, 1)
        if left.high_s is not None:
            estimate["left_high_s"] = round(left.high_s, 1)
    return {
        "phases": {phase.value: count for phase, count in found.phases.items()},
        "oldest": [
            {"name": clean(job.name, 300), "phase": job.phase.value, "since": rfc3339(job.since)}
            for job in found.oldest
        ],
        "errors": dict(found.errors),
        **estimate,
    }


def show_status(output: CommandOutput, run_dir: Path) -> None:
    status, now = read_status(run_dir), time.time()
    amounts, progress = status.report.credits, status.progress
    balance = Balance(
        amounts.budget,
        amounts.spent,
        amounts.held,
        allowance_of(status.report),
        amounts.reused,
        refunds=amounts.held_for_refunds,
    )
    output.data = {
        **head_json(status.report, run_dir),
        "running": status.running,
        "pruned": status.pruned,
    }
    if status.shards is not None:
        output.data["shards"] = {
            "plan_digest": status.shards.plan_digest,
            "count": len(status.shards.allowances),
            "missing": list(status.shards.missing),
            "set_aside": format_credits(status.shards.set_aside),
        }
    if progress is not None:
        output.data["progress"] = progress_json(progress, balance, now)
    if progress is not None or status.paused is not None:
        output.data["paused"] = _paused_json(status.paused)
    failures = _failures(status)
    show_summary(
        output.out,
        status.report,
        run_dir,
        failures=failures,
        next_step=_next_step(status, failures),
        tail=_tail(status),
    )
    if status.shards is not None:
        fact(output.out, "shards", f"not merged yet: {describe_shards(status.shards)}")
    if status.pruned is not None:
        again = shell_command("check", status.run_dir, "--fix")
        fact(
            output.out,
            "pruned",
            f"outputs were deleted on {status.pruned}; to download them again:",
        )
        fact(output.out, "", (again, "command"))
    if status.paused is not None:
        since = format_duration(max(0.0, now - status.paused.at), whole=True)
        fact(
            output.out,
            "paused",
            f"by {clean(status.paused.source.by, 80)} for {since}; nothing new is bought",
        )
        fact(output.out, "resume", (shell_command("ctl", status.location, "resume"), "command"))
    if progress is not None:
        show_progress(output.out, progress, balance, now, is_paused=status.paused is not None)


def _paused_json(paused: PausedSince | None) -> Json:
    if paused is None:
        return None
    return {
        "since": rfc3339(paused.at),
        "by": clean(paused.source.by, 300),
        "via": clean(paused.source.via, 20),
    }


def next_command(status: Status) -> str | None:
    """Return the command that continues a run, as ``status`` prints it.

    None if the run is running or complete.
    """
    failures = _failures(status)
    return _next_step(status, failures)


def _failures(status: Status) -> list[FailureGroup]:
    if status.running:
        return []
    return group_failures(status.report, status.jobs())


def _tail(status: Status) -> str:
    if status.running and status.paused is not None:
        return " · paused"
    if status.running:
        return " · running now"
    if status.shards is not None:
        return " · waiting for its shards"
    if status.report.exit_code is None:
        return " · process exited unexpectedly (killed?)"
    if _chose_some(status):
        return " · the newest run was limited to some of the jobs"
    return ""


def _chose_some(status: Status) -> bool:
    """Return whether the newest run was limited to some jobs (``--only``) and finished these."""
    return status.report.exit_code == ExitCode.OK and status.report.counts.pending > 0


def _next_step(status: Status, failures: list[FailureGroup]) -> str | None:
    """Return the command that continues a run; None if it is running or complete."""
    head, manifest = status.report, status.manifest
    if status.shards is not None and not status.running:
        return merge_command(status.location)
    if status.running or status.pruned is not None:  # a run in a pruned directory is refused
        return None
    if head.exit_code == ExitCode.OK and not _chose_some(status):
        return command_of_features(status.location, head, "")
    if head.shard is not None and head.exit_code in {ExitCode.SOME_FAILED, ExitCode.OUT_OF_CREDITS}:
        return "merge the shards of the plan once all have ended; its next plan admits what is left"
    if manifest is None or not manifest.is_file():
        return "run the command that started it again to resume"
    command = run_again(status)
    if _chose_some(status):
        after = None
        if head.all_jobs is not None:
            after = command_of_features(status.location, head, command)
        return after or command
    step = next_of_run(head, status.run_dir, failures, command)
    return None if step is None else str(step)


def run_again(status: Status) -> str:
    head, manifest = status.report, status.manifest
    if manifest is None or not manifest.is_file():
        return "run the command that started it again"
    options: list[str] = []
    # The budget of a run with a period is what the period had left, which changes.
    is_needed = head.period is None and head.budget_source != "manifest"
    if is_needed and head.credits.budget is not None:
        options = ["--budget", format_credits(head.credits.budget)]
    default = DEFAULT_DIRECTORY / head.manifest.name / head.run_id
    is_default = status.run_dir.resolve() == default.resolve()
    out_dir = None if is_default else status.location
    return run_command(
        manifest,
        *options,
        run_id=head.run_id,
        scheduled_at=head.scheduled_at,
        out_dir=out_dir,
        notify_option=head.notify_option,
    )


def write_report_and_show(
    output: CommandOutput, run_dir: Path, *, html: bool, features: Sequence[FeatureOptions]
) -> None:
    with working(output.err, "writing the report"):
        head = write_report_again(run_dir, html=html)
    page = run_dir / PAGE_FILE if html else None
    output.data = head_json(head, run_dir, page)
    if is_report_shown(output, head, run_dir, features):
        return
    for path in (run_dir / REPORT_FILE, page):
        if path is not None:
            say(output.out, ("✓ ", "good"), clean_path(path))
