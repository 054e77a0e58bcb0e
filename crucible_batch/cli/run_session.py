"""A run from the command line: its display, the question for consent, and the output at its end."""

from __future__ import annotations

import asyncio
import logging
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from crucible_batch.api import (
    JobFilter,
    Manifest,
    Message,
    Observer,
    Outcome,
    PlanSummary,
    RunBegan,
    RunEnded,
    RunRequest,
    RunResult,
    budget_for_rest,
    clean,
    codes_never_retried,
    format_credits,
    next_pick,
    plan_request,
    run_request,
)
from crucible_batch.api.cancellation import interruptible_immediately
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.command_line import again, with_out_dir, with_scheduled_at, with_shard
from crucible_batch.cli.display import Display
from crucible_batch.cli.display.json_lines import JsonLines
from crucible_batch.cli.display.live import LiveDisplay
from crucible_batch.cli.display.plain import PlainDisplay
from crucible_batch.cli.logs.run_log import OpenLog, RunLog
from crucible_batch.cli.next_after_plan import next_after_plan
from crucible_batch.cli.options import DisplayMode
from crucible_batch.cli.redaction import redacted
from crucible_batch.cli.render.plan import plan_json, show_plan
from crucible_batch.cli.render.shards import merge_command, show_shard_commands
from crucible_batch.cli.render.summary import (
    EarlierRuns,
    ending_line,
    group_failures,
    head_json,
    is_short_of_budget,
    next_of_shard,
    next_step,
    show_summary,
)
from crucible_batch.cli.startup import share_one_heap
from crucible_batch.cli.terminal import Json, at_level, fact, is_lively, say, tell, working
from crucible_batch.cli.units import format_duration
from crucible_batch.errors import DeadlineError, EarlierRunError, ExitCode
from crucible_batch.settings import Settings


def show_what_a_run_would_do(
    answer: CommandOutput, request: RunRequest, settings: Settings, *, save_to: Path | None = None, force: bool = False
) -> None:
    """Plan, save the plan if there is a file to save it to, and show it."""
    for_run = answer.command == "run"
    given = request.manifest
    with working(answer.err, "reading the manifest, querying the gateway"):
        summary = asyncio.run(
            _planned(request, settings, save_to, force=force, all_rows=answer.verbose, for_run=for_run)
        )
    answer.data = plan_json(summary, saved=save_to)
    if not answer.quiet:
        show_plan(answer.out, summary)
        if save_to is not None:
            fact(answer.out, "saved", clean(str(save_to), 4000), width=9)
        if summary.shards:
            show_shard_commands(answer.out, summary, save_to or given)
            return
        plan_again = again("--dry-run") if for_run else again()
        what_next = next_after_plan(summary, save_to, again(instead_of="run"), plan_again=plan_again)
        if summary.earlier_dir is not None and save_to is None:  # run would be refused
            what_next = with_out_dir(again(instead_of="plan"), summary.earlier_dir)
        if summary.is_waiting:  # likewise
            what_next = merge_command(summary.run_dir)
        if what_next is not None:
            fact(answer.out, "next", (what_next, "command"), width=9)


async def _planned(
    request: RunRequest, settings: Settings, save_to: Path | None, *, force: bool, all_rows: bool, for_run: bool
) -> PlanSummary:
    with interruptible_immediately():
        return await plan_request(request, save_to, force=force, all_rows=all_rows, for_run=for_run, settings=settings)


def run_and_tell(
    answer: CommandOutput,
    request: RunRequest,
    settings: Settings,
    display: DisplayMode,
    *,
    manifest: Manifest | None = None,
    command: str | None = None,
) -> Path:
    """Run, show the progress, and show how it ended. Asks for the directory if an earlier run is elsewhere.

    ``manifest`` is that of the request if it has been read already. ``command`` resumes the run; by default it is the
    current one. Returns the run directory.
    """
    command = command or again()
    log = answer.log.log if isinstance(answer.log, OpenLog) else None
    try:
        ran = asyncio.run(run_showing(answer, request, settings, display, log=log, manifest=manifest))
    except EarlierRunError as error:
        directory = _choose_directory(answer, error, command, request.deadline_s)
        command = with_out_dir(command, directory)
        request = replace(request, out_dir=directory)
        ran = asyncio.run(run_showing(answer, request, settings, display, log=log, manifest=manifest))
    if request.plan is None and (time := ran.result.report.scheduled_at) is not None:
        command = with_scheduled_at(command, time)
    if request.shard is not None:
        command = with_shard(command, str(request.shard))
    tell_ending(answer, ran, request.choice, command=command, log=log)
    return ran.result.run_dir


def _choose_directory(answer: CommandOutput, error: EarlierRunError, command: str, within_s: float | None) -> Path:
    """Ask on the terminal whether to continue the earlier run or begin a new one, and return its directory.

    Without a terminal, or if neither is chosen, raises the error with the commands for both.
    """
    hint = (
        f"to continue the earlier run: {with_out_dir(command, error.earlier)}; to begin a new one:"
        f" {with_out_dir(command, error.new)}"
    )
    refusal = EarlierRunError(error.earlier, error.new, error.found, hint)
    if not _is_on_terminal(answer):
        raise refusal
    tell(answer.err, (f"An earlier run of this manifest is in {error.found}.", "warn"))
    say(answer.err, f"A new run in {clean(str(error.new), 4000)} could buy them again.")
    answer.err.print("Continue the earlier run, or begin a new one? [c]ontinue/[n]ew/[S]top ", end="")
    choice = _read_answer(None if within_s is None else time.monotonic() + within_s)
    if choice in {"c", "continue"}:
        return error.earlier
    if choice in {"n", "new"}:
        return error.new
    raise refusal


def _is_on_terminal(answer: CommandOutput) -> bool:
    return sys.stdin.isatty() and answer.err.is_terminal


def _read_answer(end: float | None) -> str:
    """Return a line from the terminal, stripped and in lower case.

    Raises ``DeadlineError`` if there is none until ``end`` on the monotonic clock.
    """
    if end is not None and not select.select([sys.stdin], [], [], max(0.0, end - time.monotonic()))[0]:
        raise DeadlineError
    return sys.stdin.readline().strip().lower()


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A finished run, its duration, and the state that it began with."""

    result: RunResult
    took_s: float
    earlier: EarlierRuns | None


async def run_showing(
    answer: CommandOutput,
    request: RunRequest,
    settings: Settings,
    display_mode: DisplayMode,
    *,
    log: RunLog | None = None,
    manifest: Manifest | None = None,
) -> FinishedRun:
    """Run, with progress on the streams of ``answer``."""
    began = time.monotonic()
    with showing(answer, request, display_mode, log=log) as shown:
        result = await run_request(
            request,
            manifest=manifest,
            confirm=_asker(answer, shown.display),
            handle_signals=True,
            observer=shown.observer,
            settings=settings,
        )
    return FinishedRun(result, time.monotonic() - began, shown.beginning.found)


@dataclass(frozen=True, slots=True)
class RunOnScreen:
    """A run that is being shown: its display, and the observer that feeds it."""

    display: Display
    observer: Observer
    beginning: Beginning


@contextmanager
def showing(
    answer: CommandOutput, request: RunRequest, display_mode: DisplayMode, *, log: RunLog | None = None
) -> Iterator[RunOnScreen]:
    """Show the run of the block on the streams of ``answer``."""
    share_one_heap()
    title = f"{request.manifest.name} · {request.run_id}" if request.run_id else request.manifest.name
    title += "" if request.shard is None else f" · shard {request.shard}"
    beginning = Beginning()
    observers: list[Observer] = [JsonLines(answer)] if answer.json else []
    if log is not None:
        observers.append(log)
    with _choose_display(display_mode, answer, title) as display:
        yield RunOnScreen(display, _ObserverGroup([*observers, display, beginning]), beginning)


def _choose_display(mode: DisplayMode, answer: CommandOutput, title: str) -> Display:
    """Return the display for a mode. Progress goes to stderr, so that stdout contains only the result.

    ``auto`` is the live panel on a terminal and plain lines elsewhere. With JSON it shows nothing, unless stderr is a
    terminal and stdout is not: two streams on one screen would garble each other.
    """
    lively = is_lively(answer.err)
    if mode is DisplayMode.AUTO:
        if answer.quiet or answer.log_is_on_stderr or (answer.json and (answer.stdout_is_screen or not lively)):
            mode = DisplayMode.NONE
        else:
            mode = DisplayMode.RICH if lively else DisplayMode.PLAIN
    if mode is DisplayMode.RICH and lively:
        return LiveDisplay(answer.err, title)
    return Display() if mode is DisplayMode.NONE else PlainDisplay(answer.err)


def tell_ending(
    answer: CommandOutput,
    ran: FinishedRun,
    job_filter: JobFilter,
    *,
    command: str | None,
    log: RunLog | None = None,
) -> None:
    """Report how a run ended: as text, in the envelope and by the exit code. ``command`` resumes it."""
    result, head = ran.result, ran.result.report
    failures = group_failures(head, (row for row in result.jobs() if job_filter.takes(row.name)))
    what_next = None
    if command is not None:
        enough = budget_for_rest(result.run_dir, job_filter) if is_short_of_budget(head) else None
        never = codes_never_retried(result.run_dir) if failures else frozenset()
        what_next = next_step(
            head, command, failures, run_dir=result.run_dir, remake=result.remake, enough=enough, never=never
        )
        if what_next is None and head.waiting:
            what_next = next_pick(result.run_dir)
        if result.merge is not None:
            what_next = next_of_shard(head, command, failures, result.merge)
    answer.data = head_json(head, result.run_dir, result.page)
    if result.outputs_at is not None:
        answer.data["outputs_at"] = result.outputs_at
    if result.exit_code is not ExitCode.OK:
        stop = next(iter(head.stops.values()), None)
        if stop is not None:
            answer.blame(stop.code, stop.message, stop.hint, stop.request_id, exit_code=result.exit_code)
        else:
            message = f"{head.counts.succeeded} of {head.counts.total} jobs succeeded"
            answer.blame("JOBS_NOT_DONE", message, what_next, exit_code=result.exit_code)
    line = ending_line(head, result.run_dir, failures, result.exit_code)
    if log is not None:
        code = None if answer.error is None else str(answer.error["code"])
        shown = f"{line}; next: {what_next}" if what_next and answer.log_is_on_stdout else line
        log.result(shown, result.exit_code, code, _ending(ran))
    answer.is_told = True
    if answer.quiet and result.exit_code is not ExitCode.OK and not answer.log_is_on_stderr:
        with at_level(answer.err, logging.ERROR):
            say(answer.err, redacted(line))
    if not answer.quiet and not answer.log_is_on_stdout:
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
        if result.outputs_at is not None:
            fact(answer.out, "outputs", clean(result.outputs_at, 4000))


def _ending(ran: FinishedRun) -> dict[str, Json]:
    """Return the data of the log's entry about the result."""
    head = head_json(ran.result.report, ran.result.run_dir, ran.result.page)
    return {
        name: head[name]
        for name in ("status", "exit_code", "counts", "credits", "run_dir", "report", "page")
        if name in head
    }


class _ObserverGroup:
    """An observer that passes messages to several others. An observer that can't write must not end a paid run."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def notify(self, message: Message) -> None:
        for observer in self._observers:
            try:  # noqa: SIM105 - this runs for each event of each job, and ``suppress`` costs more than the rest
                observer.notify(message)
            except OSError:
                pass


class Beginning:
    """An observer that records the state that a run began with, and its outcome."""

    def __init__(self) -> None:
        self.found: EarlierRuns | None = None

    def notify(self, message: Message) -> None:
        if isinstance(message, RunBegan):
            self.found = EarlierRuns(message.counts.get(Outcome.SUCCEEDED, 0), message.balance.spent)
        elif isinstance(message, RunEnded) and self.found is not None:
            self.found = replace(self.found, counts={word.value: count for word, count in message.counts.items()})


def _asker(answer: CommandOutput, display: Display) -> Callable[[PlanSummary], bool] | None:
    """Return a function that asks for consent on the terminal; None if there is no terminal to answer.

    It waits for an answer until the run's deadline.
    """
    if not _is_on_terminal(answer):
        return None

    def ask(summary: PlanSummary) -> bool:
        end = None if summary.left_s is None else time.monotonic() + summary.left_s
        display.pause()
        show_plan(answer.err, summary)
        say(answer.err, "")
        tell(answer.err, ("This run has no budget: nothing limits what it may spend.", "warn"))
        answer.err.print(f"Spend up to {_most(summary)}? [y/N] ", end="")
        yes = _read_answer(end) in {"y", "yes"}
        display.resume()
        return yes

    return ask


def _most(summary: PlanSummary) -> str:
    """Return the most that a run without a budget can spend: the sum if prices have a bound, else the balance."""
    if summary.most is not None:
        return f"{format_credits(summary.most)} credits"
    if summary.balance is not None:
        return f"{format_credits(summary.balance)} credits, the entire balance"
    return "the entire balance"
