"""The wrapper around every command: writes text or JSON, and maps exceptions to exit codes."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO

import typer
from rich.text import Text

from crucible_batch.cli.redaction import Redaction, printable, redacted
from crucible_batch.cli.terminal import Json, open_console, say, say_note, silence
from crucible_batch.core.redaction import clean_path
from crucible_batch.error_codes import BUG_EXIT_CODE
from crucible_batch.errors import CrucibleBatchError, ExitCode
from crucible_batch.resource_errors import resource_error

BUG = BUG_EXIT_CODE
"""The exit code of a bug in crucible-batch itself."""


class Terminated(SystemExit):
    """A SIGTERM or SIGHUP that arrived while no run was active to handle it.

    A subclass of ``SystemExit``, because a task group wraps other exceptions in an exception group.
    """


class DiskError(CrucibleBatchError):
    """A failure to read or write a file other than a run's journal."""

    code = "DISK"


class CommandLog(Protocol):
    """The log of a command (``cli/logs``), which observes its run."""

    def notify(self, message: Any) -> None: ...

    def error(
        self, error: CrucibleBatchError | None, message: str, exit_code: int, code: str
    ) -> None: ...

    def result(
        self, text: str, exit_code: int, code: str | None, data: Mapping[str, Json]
    ) -> None: ...

    def end(self) -> None: ...


class CommandOutput:
    """A command's output and exit code.

    With ``json``, stdout contains only JSON, and text goes to stderr. ``is_failure_shown``: what
    went wrong has been printed. With ``quiet``, ``close`` otherwise prints it in one line.
    ``subject`` is the run in words, with its scheduled time: with ``quiet``, what went wrong begins
    with it, since cron mails it. ``log_is_on_stderr``: the lines of ``log`` replace the text for
    people on stderr.
    """

    def __init__(
        self, command: str, *, json: bool = False, quiet: bool = False, verbose: bool = False
    ) -> None:
        self.command = command
        self.json = json
        self.quiet = quiet
        self.verbose = verbose
        self.err = open_console(stderr=True)
        self.out = self.err if json else open_console()
        self.stdout_is_screen = sys.stdout.isatty()
        self.data: Json = None
        self.error: Mapping[str, Json] | None = None
        self.exit_code: int = ExitCode.OK
        self.is_failure_shown = False
        self.subject = ""
        self.log: CommandLog | None = None
        self.log_is_on_stderr = False

    @property
    def log_is_on_stdout(self) -> bool:
        """Whether text for people on stdout would be among the lines of ``log``.

        A terminal shows both.
        """
        if not self.log_is_on_stderr:
            return False
        if self.out is self.err:
            return True
        return not self.stdout_is_screen and _is_same_file(sys.stdout, sys.stderr)

    def event(self, kind: str, at: str | None = None, **fields: Json) -> None:
        """Write one line of JSON; do nothing without ``json``."""
        if self.json:
            _write_line({"type": kind, "at": at or rfc3339(), **fields})

    def blame(
        self,
        code: str,
        message: str,
        hint: str | None = None,
        request_id: str | None = None,
        *,
        exit_code: int,
    ) -> None:
        """Record the error for the envelope, and the exit code."""
        self.exit_code = exit_code
        self.error = {"code": code, "message": message, "hint": hint, "request_id": request_id}

    def close(self) -> None:
        """Write the envelope, the last line of JSON output.

        With ``quiet``, print what went wrong if it wasn't printed before.
        """
        is_unseen = self.quiet and not self.is_failure_shown
        if is_unseen and self.exit_code and self.error is not None:
            message = " ".join(printable(redacted(str(self.error["message"]))).split())
            code, exit_code = self.error["code"], int(self.exit_code)
            say(self.err, f"{self.command}: {code}: {message} (exit code {exit_code})")
        if self.log is not None:
            self.log.end()
        if self.json:
            _write_line(self.envelope())

    def envelope(self) -> dict[str, Json]:
        return {
            "type": "result",
            "at": rfc3339(),
            "ok": self.exit_code == ExitCode.OK,
            "command": self.command,
            "exit_code": int(self.exit_code),
            "data": self.data,
            "error": self.error,
        }


@contextmanager
def answering(
    command: str, *, json: bool = False, quiet: bool = False, verbose: bool = False
) -> Iterator[CommandOutput]:
    """Run a command's body, show any exception, write the envelope, and raise ``typer.Exit``."""
    output = CommandOutput(command, json=json, quiet=quiet, verbose=verbose)
    _log_to(output)
    try:
        with recording(output):
            yield output
    except KeyboardInterrupt:
        _interrupted(output, "stopped by Ctrl-C", ExitCode.SIGINT)
    except Terminated:
        _interrupted(output, "stopped by a signal", ExitCode.SIGTERM)
    output.close()
    raise typer.Exit(int(output.exit_code))


@contextmanager
def recording(output: CommandOutput) -> Iterator[None]:
    """Show what the block raises, and record it for the envelope."""
    try:
        yield
    except CrucibleBatchError as error:
        show_failure(output, error)
    # The disk or an output stream, not a bug; a run continues from its journal.
    except OSError as error:
        place = error.filename or "a file or an output stream can't be read or written"
        what = f"{place}: {error.strerror or error}"
        show_failure(
            output, DiskError(what, hint="fix the disk problem, then run the same command again")
        )
    # A bug must still produce a message, an envelope and an exit code.
    except Exception as error:  # noqa: BLE001
        lack = resource_error(error)
        if lack is not None:
            show_failure(output, lack)
        else:
            _show_bug(output, error)


def _interrupted(output: CommandOutput, message: str, code: ExitCode) -> None:
    output.blame("INTERRUPTED", message, exit_code=code)
    _log(output, None)
    if not output.log_is_on_stderr:
        say(output.err, message)
    output.is_failure_shown = True


def _log(output: CommandOutput, error: CrucibleBatchError | None) -> None:
    if output.log is not None and output.error is not None:
        output.log.error(
            error, str(output.error["message"]), int(output.exit_code), str(output.error["code"])
        )


def rfc3339(seconds: float | None = None) -> str:
    """Format seconds since 1970 as RFC 3339 in UTC with milliseconds; None means now."""
    moment = datetime.now(UTC)
    if seconds is not None:
        moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show_failure(output: CommandOutput, error: CrucibleBatchError) -> None:
    """Show an error, and record it with its exit code for the envelope."""
    # Only if there is an error:
    from crucible_batch.cli.render.errors import problems_of, show_error  # noqa: PLC0415

    request_id = getattr(error, "request_id", None)
    output.blame(error.code, error.message, error.hint, request_id, exit_code=error.exit_code)
    problems = problems_of(error)
    if problems is not None:
        output.data = problems
    _log(output, error)
    if not output.log_is_on_stderr:
        if output.quiet and output.subject:
            say(output.err, f"{clean_path(output.subject)}: exit code {int(error.exit_code)}")
        show_error(output.err, error)
    output.is_failure_shown = True


def _show_bug(output: CommandOutput, error: Exception) -> None:
    what = redacted(f"{type(error).__name__}: {error}")[:300]
    output.blame(
        "BUG", what, "run it again with -v for the traceback, and report it", exit_code=BUG
    )
    _log(output, None)
    output.is_failure_shown = True
    _say_bug(output, error, what)


def _say_bug(output: CommandOutput, error: Exception, what: str) -> None:
    say(output.err, ("Sorry, this is a bug in crucible-batch: ", "bad"), ascii(what)[1:-1])
    if output.verbose:
        trace = redacted("".join(traceback.format_exception(error)))
        output.err.print(Text(ascii(trace)[1:-1].replace("\\n", "\n")), soft_wrap=True)
    else:
        say(
            output.err,
            ("  hint  ", "label"),
            "run it again with -v for the traceback, and report it",
        )
    say(
        output.err,
        "        everything in the journal is safe; run the same command again to resume",
    )


def _is_same_file(one: TextIO, other: TextIO) -> bool:
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())
    except (OSError, ValueError):  # a stream that is closed, or has no file
        return False


def _write_line(line: Mapping[str, Json]) -> None:
    try:
        print(json.dumps(line), flush=True)  # noqa: T201 - stdout is the interface here
    except OSError:  # a closed pipe or a full disk must not stop the command
        silence(sys.stdout)


def _level(output: CommandOutput) -> int:
    return logging.INFO if output.verbose else logging.WARNING


class _Notes(logging.Handler):
    """A log handler that prints records as notes, above a live display."""

    def __init__(self, output: CommandOutput) -> None:
        super().__init__(_level(output))
        self._output = output
        self.addFilter(Redaction())

    def emit(self, record: logging.LogRecord) -> None:
        if self._output.quiet or self._output.log_is_on_stderr:
            return
        if record.levelno < logging.WARNING and record.name.partition(".")[0] != "crucible_batch":
            return
        say_note(self._output.err, printable(record.getMessage()))


def _log_to(output: CommandOutput) -> None:
    """Show our log records, and warnings of other libraries.

    Python would otherwise print them without redaction.
    """
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _Notes)]
    root.addHandler(_Notes(output))
    logging.getLogger("crucible_batch").setLevel(_level(output))
