"""A run from the command line: its display, and the questions before it begins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path

from rich.console import Console

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.display import Display
from crucible_batch.cli.display.json_lines import JsonLines
from crucible_batch.cli.display.live import LiveDisplay
from crucible_batch.cli.display.plain import PlainDisplay
from crucible_batch.cli.ending import FinishedRun, show_run_ending
from crucible_batch.cli.options import DisplayMode
from crucible_batch.cli.render.elsewhere import is_report_shown
from crucible_batch.cli.render.plan import show_plan
from crucible_batch.cli.render.summary import EarlierRuns
from crucible_batch.cli.startup import share_one_heap
from crucible_batch.cli.terminal import agrees, ask, can_ask, is_lively, say, say_sentence
from crucible_batch.core.credits import format_credits
from crucible_batch.core.outcome import Outcome
from crucible_batch.core.progress import Message, Observer, RunBegan, RunEnded
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.errors import EarlierRunError
from crucible_batch.features.registry import complete_runner_of, kind_of
from crucible_batch.manifest import Manifest
from crucible_batch.runs.plan_summary import PlanSummary
from crucible_batch.runs.request import RunRequest
from crucible_batch.runs.running import RunResult
from crucible_batch.settings import Settings
from crucible_batch.shell_command import with_option

_BELL_AFTER_S = 60.0


def run_and_show(
    output: CommandOutput,
    request: RunRequest,
    settings: Settings,
    display: DisplayMode,
    *,
    manifest: Manifest | None,
    command: str,
) -> Path:
    """Run, show the progress, and show how it ended. Asks for the directory if an earlier run is
    elsewhere.

    ``manifest`` is that of the request if it has been read already. ``command`` resumes the run.
    Returns the run directory.
    """
    try:
        ran = asyncio.run(run_showing(output, request, settings, display, manifest=manifest))
    except EarlierRunError as error:
        directory = _choose_directory(output, error, command, request.deadline_s)
        command = with_option(command, "--out-dir", str(directory))
        request = replace(request, out_dir=directory)
        ran = asyncio.run(run_showing(output, request, settings, display, manifest=manifest))
    scheduled_at = ran.result.report.scheduled_at
    if request.plan is None and scheduled_at is not None:
        command = with_option(command, "--scheduled-at", scheduled_at)
    for options in request.features:
        for option, value in options.repeated.items():
            command = with_option(command, option, value)
    choice = replace(request.choice, left_out=ran.result.left_out)
    show_run_ending(output, ran, choice, command=command)
    is_report_shown(output, ran.result.report, ran.result.run_dir)
    if request.bell:
        ring(output.err, ran.took_s)
    return ran.result.run_dir


def ring(console: Console, took_s: float) -> None:
    """Ring the bell of a terminal if a run took more than a minute."""
    if console.is_terminal and took_s > _BELL_AFTER_S:
        console.bell()


def _choose_directory(
    output: CommandOutput, error: EarlierRunError, command: str, within_s: float | None
) -> Path:
    """Ask on the terminal whether to continue the earlier run or begin a new one, and return its
    directory.

    Without a terminal, or if neither is chosen, raises the error with the commands for both.
    """
    earlier, new = (
        with_option(command, "--out-dir", str(directory))
        for directory in (error.earlier, error.new)
    )
    hint = f"to continue the earlier run: {earlier}; to begin a new one: {new}"
    refusal = EarlierRunError(error.earlier, error.new, error.found, hint)
    if not can_ask(output.err):
        raise refusal
    say_sentence(output.err, (f"An earlier run of this manifest is in {error.found}.", "warn"))
    say(output.err, f"A new run in {clean_path(error.new)} could buy them again.")
    question = "Continue the earlier run, or begin a new one? [c]ontinue/[n]ew/[S]top"
    choice = ask(output.err, question, end=_end_of(within_s))
    if choice in {"c", "continue"}:
        return error.earlier
    if choice in {"n", "new"}:
        return error.new
    raise refusal


async def run_showing(
    output: CommandOutput,
    request: RunRequest,
    settings: Settings,
    display_mode: DisplayMode,
    *,
    manifest: Manifest | None = None,
) -> FinishedRun:
    with showing(output, request, display_mode) as shown:
        confirm = None
        if can_ask(output.err):
            confirm = partial(_consents, output, shown.display)
        result = await complete_runner_of(request)(
            request,
            kind_of,
            manifest=manifest,
            confirm=confirm,
            handle_signals=True,
            observer=shown,
            settings=settings,
        )
    return shown.finished(result)


class RunOnScreen:
    """A run that is being shown: an observer that passes its messages to the display and to others.

    An observer that can't write must not end a paid run.
    """

    def __init__(self, display: Display, others: Sequence[Observer]) -> None:
        self.display = display
        self._observers = [*others, display]
        self._began = time.monotonic()
        self._earlier: EarlierRuns | None = None

    def notify(self, message: Message) -> None:
        # For each event of each job: ``suppress`` would cost more than the rest.
        for observer in self._observers:
            try:  # noqa: SIM105
                observer.notify(message)
            except OSError:
                pass
        # A probe begins a run at each of its steps.
        if isinstance(message, RunBegan) and self._earlier is None:
            self._earlier = EarlierRuns(
                message.counts.get(Outcome.SUCCEEDED, 0), message.balance.bought
            )
        elif isinstance(message, RunEnded) and self._earlier is not None:
            counts = {word.value: count for word, count in message.counts.items()}
            self._earlier = replace(self._earlier, counts=counts)

    def finished(self, result: RunResult) -> FinishedRun:
        return FinishedRun(result, time.monotonic() - self._began, self._earlier)


@contextmanager
def showing(
    output: CommandOutput, request: RunRequest, display_mode: DisplayMode
) -> Iterator[RunOnScreen]:
    """Show the run of the block on the streams of ``output``, and log it if it has a log."""
    share_one_heap()
    title = request.manifest.name
    if request.run_id:
        title += f" · {request.run_id}"
    title += "".join(options.title for options in request.features)
    others: list[Observer] = []
    if output.json:
        others.append(JsonLines(output))
    if output.log is not None:
        others.append(output.log)
    with _choose_display(display_mode, output, title) as display:
        yield RunOnScreen(display, others)


def _choose_display(mode: DisplayMode, output: CommandOutput, title: str) -> Display:
    """Return the display for a mode. Progress goes to stderr, so that stdout contains only the
    result.

    ``auto`` is the live panel on a terminal and plain lines elsewhere. With JSON it shows nothing,
    unless stderr is a terminal and stdout is not: two streams on one screen would garble each
    other.
    """
    lively = is_lively(output.err)
    if mode is DisplayMode.AUTO:
        if (
            output.quiet
            or output.log_is_on_stderr
            or (output.json and (output.stdout_is_screen or not lively))
        ):
            mode = DisplayMode.NONE
        else:
            mode = DisplayMode.RICH
    if mode is DisplayMode.NONE:
        return Display()
    if mode is DisplayMode.RICH and lively:
        return LiveDisplay(output.err, title)
    return PlainDisplay(output.err)


def _consents(output: CommandOutput, display: Display, summary: PlanSummary) -> bool:
    """Ask on the terminal for consent to a run without a budget, and wait for an answer until the
    run's deadline."""
    end = _end_of(summary.left_s)
    display.pause()
    show_plan(output.err, summary)
    say(output.err, "")
    say_sentence(output.err, ("This run has no budget: nothing limits what it may spend.", "warn"))
    is_agreed = agrees(output.err, _question(summary), end=end)
    display.resume()
    return is_agreed


def _end_of(seconds: float | None) -> float | None:
    """Return the monotonic time after so many seconds, for an answer; None if there is no limit."""
    if seconds is None:
        return None
    return time.monotonic() + seconds


def _question(summary: PlanSummary) -> str:
    """Ask for consent to what a run may spend, later stages included.

    It is the sum of the declared ceilings. Without these it is likely what the last known prices
    add up to, and at most the balance.
    """
    if summary.most_with_stages is not None:
        return f"Spend up to {format_credits(summary.most_with_stages)} credits?"
    balance = "the entire balance"
    if summary.balance is not None:
        balance = f"{format_credits(summary.balance)} credits, {balance}"
    lines = (*summary.lines, *summary.later_lines)
    amounts = [line.likely_each * line.count for line in lines if line.likely_each is not None]
    if not amounts:
        return f"Spend up to {balance}?"
    unknown = dict.fromkeys(clean(line.what, 60) for line in lines if line.likely_each is None)
    likely = f"about {format_credits(sum(amounts, Decimal()))} credits at the last known prices"
    if unknown:
        likely += f", more for {' and '.join(unknown)}"
    return f"Spend {likely}, and at most {balance}?"
