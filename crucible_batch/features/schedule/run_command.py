"""The runs of one command ``run``: missed runs of the manifest's schedule, then the current one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from crucible_batch.cli.command_line import again
from crucible_batch.cli.command_output import CommandOutput, show_failure
from crucible_batch.cli.options import DisplayMode
from crucible_batch.cli.terminal import Json, say
from crucible_batch.core.redaction import clean_path
from crucible_batch.errors import CrucibleBatchError, ExitCode, RunBusyError
from crucible_batch.features.schedule.catch_up import DueRun, ends_all, first_code
from crucible_batch.features.schedule.run_options import ScheduleOptions
from crucible_batch.features.schedule.scheduled_runs import (
    PreparedRun,
    due_runs,
    hold_results,
    preparation_failures_notified,
    prepare_run,
)
from crucible_batch.option_values import IfRunning
from crucible_batch.runs.request import RunRequest
from crucible_batch.settings import Settings


def run(
    output: CommandOutput, request: RunRequest, settings: Settings, display: DisplayMode
) -> None:
    """Run a request, after the missed runs of its schedule, and unless another run prevents it."""
    options = request.of(ScheduleOptions)
    request = replace(
        request, overlap_is_failure=options.if_running not in {IfRunning.SKIP, IfRunning.WAIT}
    )
    output.subject = str(request.manifest)
    if request.scheduled_at is not None:
        output.subject += f", scheduled at {request.scheduled_at.isoformat(timespec='minutes')}"
    prepared = prepare_run(request, settings)
    _name_run(output, prepared, prepared.current)
    command = _Runs(output, settings, display, is_time_given=request.scheduled_at is not None)
    while True:
        try:
            with ExitStack() as stack:
                with preparation_failures_notified(prepared.manifest, prepared.request, settings):
                    if stack.enter_context(_held(output, prepared, options.if_running)):
                        prepared = prepared.reread()
                command.make(prepared, options.catch_up)
                return
        except RunBusyError as error:
            if options.if_running is IfRunning.SKIP:
                _show_skipped(output, error)
                return
            if options.if_running is not IfRunning.WAIT:
                raise


def _held(
    output: CommandOutput, prepared: PreparedRun, if_running: IfRunning | None
) -> AbstractContextManager[bool | None]:
    if if_running is None:
        return nullcontext()

    def show(other: str) -> None:
        say(output.err, ("waiting  ", "label"), clean_path(other))

    wait = if_running is IfRunning.WAIT
    return hold_results(
        prepared.folder, prepared.run_dir, prepared.deadline, wait=wait, on_wait=show
    )


def _show_skipped(output: CommandOutput, error: RunBusyError) -> None:
    output.data = {"skipped": True, "reason": error.message}
    if not output.quiet:
        say(output.out, ("skipped  ", "label"), clean_path(error.message))


@dataclass(slots=True)
class _Runs:
    """The runs of one command. ``errors`` are those of the runs that were made, by exit code."""

    output: CommandOutput
    settings: Settings
    display: DisplayMode
    is_time_given: bool
    errors: dict[int, Mapping[str, Json] | None] = field(default_factory=dict)
    caught_up: list[Json] = field(default_factory=list)

    def make(self, prepared: PreparedRun, catch_up: int | None) -> None:
        """Make the missed runs, oldest first, then the current one. Each has its own result.

        The envelope has the data of the last run, and the missed ones as ``caught_up``. The exit
        code is the first of their codes, by their documented order.
        """
        with preparation_failures_notified(prepared.manifest, prepared.request, self.settings):
            due = due_runs(prepared, catch_up)
        if len(due) == 1 and not self.caught_up:
            self._run(prepared, due[0])
            return
        for number, each in enumerate(due, 1):
            is_missed = number < len(due)
            self._announce(prepared, each, f"{number} of {len(due)}", is_missed=is_missed)
            self._make_one(prepared, each, is_missed=is_missed)
            if ends_all(self.output.exit_code):
                rest = [each.run_id for each in due[number:]]
                if rest and not self.output.quiet:
                    say(self.output.err, ("not started  ", "label"), ", ".join(rest))
                break
        output = self.output
        of_last_run = output.data if isinstance(output.data, Mapping) else {}
        output.data = {**of_last_run, "caught_up": self.caught_up}
        output.exit_code = first_code(self.errors)
        output.error = self.errors.get(output.exit_code)

    def _make_one(self, prepared: PreparedRun, due: DueRun, *, is_missed: bool) -> None:
        """Make one of several runs.

        An error ends this run only, unless another run holds its directory.
        """
        output = self.output
        output.data, output.error, output.exit_code = None, None, ExitCode.OK
        run_dir: Json = None
        try:
            run_dir = str(self._run(prepared, due))
        except RunBusyError:
            raise
        except CrucibleBatchError as error:
            show_failure(output, error)
        self.errors.setdefault(output.exit_code, output.error)
        if is_missed:
            made = {"run_id": due.run_id, "scheduled_at": _shown(due), "run_dir": run_dir}
            self.caught_up.append(
                {**made, "exit_code": int(output.exit_code), "error": output.error}
            )

    def _run(self, prepared: PreparedRun, due: DueRun) -> Path:
        # Imported here, since it is not needed if the run is skipped.
        from crucible_batch.cli.run_session import run_and_show  # noqa: PLC0415

        _name_run(self.output, prepared, due)
        with preparation_failures_notified(prepared.manifest, prepared.request, self.settings):
            request, manifest = prepared.at(due)
        # The id depends on the time, so that the same command would begin another run once its own
        # night has passed.
        command = again()
        if prepared.depends_on_time and not self.is_time_given:
            command = again("--scheduled-at", _shown(due))
        return run_and_show(
            self.output, request, self.settings, self.display, manifest=manifest, command=command
        )

    def _announce(self, prepared: PreparedRun, due: DueRun, which: str, *, is_missed: bool) -> None:
        self.output.event(
            "scheduled_run", run_id=due.run_id, scheduled_at=_shown(due), missed=is_missed
        )
        if self.output.quiet:
            return
        what = f"{due.run_id}, {_time_words(prepared, due)}"
        if is_missed:
            what += " (missed)"
        say(self.output.err, (f"run {which}  ", "label"), what)


def _name_run(output: CommandOutput, prepared: PreparedRun, due: DueRun) -> None:
    """Name the run that the command makes now, for what is printed if it fails."""
    output.subject = f"{prepared.manifest.name}/{due.run_id}"
    if prepared.is_scheduled:
        output.subject += f", {_time_words(prepared, due)}"


def _time_words(prepared: PreparedRun, due: DueRun) -> str:
    local = due.scheduled_at.astimezone(prepared.manifest.zone)
    return f"scheduled at {local.isoformat(timespec='minutes')}"


def _shown(due: DueRun) -> str:
    return due.scheduled_at.isoformat().replace("+00:00", "Z")
