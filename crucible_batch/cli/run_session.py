"""A run from the command line: its display, the question for consent, and the output at its end."""

from __future__ import annotations

import asyncio
import select
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from crucible_batch.api import (
    JobFilter,
    Message,
    Outcome,
    PlanSummary,
    RunBegan,
    RunEnded,
    RunRequest,
    RunResult,
    budget_for_rest,
    clean,
    format_credits,
    plan_request,
    run_request,
)
from crucible_batch.api.cancellation import at_once
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.command_line import again, with_budget
from crucible_batch.cli.display.choose import Display, choose_display, observer_of
from crucible_batch.cli.options import DisplayMode
from crucible_batch.cli.render.plan import plan_json, show_plan
from crucible_batch.cli.render.summary import (
    EarlierRuns,
    group_failures,
    head_json,
    is_short_of_budget,
    next_step,
    show_summary,
)
from crucible_batch.cli.startup import share_one_heap
from crucible_batch.cli.terminal import say, tell, working
from crucible_batch.cli.units import format_duration
from crucible_batch.errors import DeadlineError, ExitCode
from crucible_batch.settings import Settings
from crucible_batch.shell_command import run_command


def show_what_a_run_would_do(
    answer: CommandOutput, request: RunRequest, settings: Settings, *, save_to: Path | None = None, force: bool = False
) -> None:
    """Plan, save the plan if there is a file to save it to, and show it."""
    with working(answer.err, "reading the manifest, asking the gateway"):
        summary = asyncio.run(_planned(request, settings, save_to, force=force, all_rows=answer.verbose))
    answer.data = plan_json(summary, saved=save_to)
    if not answer.quiet:
        show_plan(answer.out, summary)
        if save_to is not None:
            say(answer.out, ("  saved     ", "label"), clean(str(save_to), 4000))
        if (what_next := next_after_plan(summary, save_to, again(instead_of="run"))) is not None:
            say(answer.out, ("  next      ", "label"), (what_next, "command"))


async def _planned(
    request: RunRequest, settings: Settings, save_to: Path | None, *, force: bool, all_rows: bool
) -> PlanSummary:
    with at_once():
        return await plan_request(request, save_to, force=force, all_rows=all_rows, settings=settings)


def run_and_tell(answer: CommandOutput, request: RunRequest, settings: Settings, display: DisplayMode) -> None:
    """Run, show the progress, and show how it ended."""
    ran = asyncio.run(run_showing(answer, request, settings, display))
    tell_ending(answer, ran, request.job_filter, command=again())


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A finished run, its duration, and the state that it began with."""

    result: RunResult
    took_s: float
    earlier: EarlierRuns | None


async def run_showing(
    answer: CommandOutput, request: RunRequest, settings: Settings, display_mode: DisplayMode
) -> FinishedRun:
    """Run, with progress on the streams of ``answer``."""
    share_one_heap()
    began = time.monotonic()
    title = f"{request.manifest.name} · {request.run_id}" if request.run_id else request.manifest.name
    beginning = _Beginning()
    with choose_display(display_mode, answer, title) as display:
        result = await run_request(
            request,
            confirm=_asker(answer, display, None if request.deadline_s is None else began + request.deadline_s),
            handle_signals=True,
            observer=observer_of(answer, display, beginning),
            settings=settings,
        )
    return FinishedRun(result, time.monotonic() - began, beginning.found)


def tell_ending(answer: CommandOutput, ran: FinishedRun, job_filter: JobFilter, *, command: str | None) -> None:
    """Report how a run ended: as text, in the envelope and by the exit code. ``command`` resumes it."""
    result, head = ran.result, ran.result.report
    failures = group_failures(head, (row for row in result.jobs() if job_filter.takes(row.name)))
    what_next = None
    if command is not None:
        enough = budget_for_rest(result.run_dir, job_filter) if is_short_of_budget(head) else None
        what_next = next_step(head, command, failures, remake=result.remake, enough=enough)
    answer.data = head_json(head, result.run_dir, result.page)
    if result.exit_code is not ExitCode.OK:
        stop = next(iter(head.stops.values()), None)
        if stop is not None:
            answer.blame(stop.code, stop.message, stop.hint, stop.request_id, exit_code=result.exit_code)
        else:
            message = f"{head.counts.succeeded} of {head.counts.total} jobs succeeded"
            answer.blame("JOBS_NOT_DONE", message, what_next, exit_code=result.exit_code)
    if not answer.quiet:
        show_summary(
            answer.out,
            head,
            result.run_dir,
            failures=failures,
            next_step=what_next,
            tail=f" · {format_duration(ran.took_s)}",
            page=result.page,
            earlier=ran.earlier,
        )


class _Beginning:
    """An observer that records the state that a run began with, and its outcome."""

    def __init__(self) -> None:
        self.found: EarlierRuns | None = None

    def notify(self, message: Message) -> None:
        if isinstance(message, RunBegan):
            self.found = EarlierRuns(message.counts.get(Outcome.SUCCEEDED, 0), message.balance.spent)
        elif isinstance(message, RunEnded) and self.found is not None:
            self.found = replace(self.found, counts={word.value: count for word, count in message.counts.items()})


def next_after_plan(summary: PlanSummary, save_to: Path | None, command: str) -> str | None:
    """Return the next command after a plan; None if no job can start, since the plan's hint covers that case.

    ``command`` runs the plan.
    """
    if summary.blocked is not None:
        return None
    if save_to is not None:
        return run_command(save_to)
    if summary.budget is None and summary.digest is None and "--yes" not in command and "-y" not in command.split():
        if summary.enough is None:
            return f"choose a budget, then: {with_budget(command, 'N')}"
        return with_budget(command, format_credits(summary.enough))
    return command


def _asker(answer: CommandOutput, display: Display, end: float | None) -> Callable[[PlanSummary], bool] | None:
    """Return a function that asks for consent on the terminal; None if there is no terminal to answer.

    It waits for an answer until ``end`` on the monotonic clock.
    """
    if not (sys.stdin.isatty() and answer.err.is_terminal):
        return None

    def ask(summary: PlanSummary) -> bool:
        display.pause()
        show_plan(answer.err, summary)
        say(answer.err, "")
        tell(answer.err, ("Nothing caps what this run may spend: there is no budget.", "warn"))
        answer.err.print(f"Spend up to {_most(summary)}? [y/N] ", end="")
        if end is not None and not select.select([sys.stdin], [], [], max(0.0, end - time.monotonic()))[0]:
            raise DeadlineError
        yes = sys.stdin.readline().strip().lower() in {"y", "yes"}
        display.resume()
        return yes

    return ask


def _most(summary: PlanSummary) -> str:
    """Return the most that a run without a budget can spend: the sum if prices have a bound, else the whole balance."""
    if summary.most is not None:
        return f"{format_credits(summary.most)} credits"
    if summary.balance is not None:
        return f"{format_credits(summary.balance)} credits, all that the account has"
    return "all that the account has"
