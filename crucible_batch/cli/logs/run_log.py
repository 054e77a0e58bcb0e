"""The log of one command: it observes the run, handles log records, and writes their lines."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.logs.entries import LogContext, LogEntry, entry_of, format_entry, level_of
from crucible_batch.cli.logs.log_file import LogFile
from crucible_batch.cli.render.errors import problems_of
from crucible_batch.cli.run_options import LogFormat, LogOptions
from crucible_batch.cli.terminal import Json
from crucible_batch.core.events import event_name
from crucible_batch.core.job import Phase
from crucible_batch.core.progress import JobAdvanced, Message, RunBegan
from crucible_batch.errors import CrucibleBatchError, GatewayError

_ENDED = {Phase.SUCCEEDED, Phase.FAILED, Phase.UNAVAILABLE, Phase.VANISHED, Phase.UNKNOWN}
_OURS = "crucible_batch"
logger = logging.getLogger(__name__)
LAST = frozenset({"result", "error"})
"""The events of how a command ended."""


class RunLog(logging.Handler):
    """The log of a command.

    Progress messages, log records, an error and the result become lines of ``write``. With
    ``only_failures``, ``write`` gets only the line with the reason why the command failed. An error
    in writing never reaches the run.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        context: LogContext,
        *,
        log_format: LogFormat,
        verbose: bool = False,
        only_failures: bool = False,
        file: LogFile | None = None,
    ) -> None:
        super().__init__(logging.DEBUG if verbose else logging.INFO)
        self._write = write
        self._context = context
        self._format = log_format
        self._file = file
        self._only_failures = only_failures
        self._attempts: dict[str, int] = {}
        self._entry_lock = threading.RLock()

    def notify(self, message: Message) -> None:
        attempt = None
        if isinstance(message, JobAdvanced):
            attempt = self._attempt(message)
        if isinstance(message, RunBegan):
            self._context = self._context.beginning(message.manifest, message.run_id)
        if level_of(message) >= self.level:
            self.write(entry_of(message, attempt))

    def _attempt(self, message: JobAdvanced) -> int | None:
        """Return the number of the job's attempt, and remember it until the job has ended."""
        if event_name(message.event) == "Held":
            self._attempts[message.identity] = getattr(message.event, "attempt", 0)
        if message.phase in _ENDED:
            return self._attempts.pop(message.identity, None)
        return self._attempts.get(message.identity)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] == _OURS or record.levelno >= logging.WARNING:
            text, data = record.getMessage(), {"logger": record.name}
            self.write(LogEntry(record.created, record.levelno, "note", text, data=data))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - of ``logging``
        """Ignore a record that can't be formatted, which Python would print with its variables."""

    def error(
        self, error: CrucibleBatchError | None, message: str, exit_code: int, code: str
    ) -> None:
        text = f"{code}: {message}"
        if error is not None and error.hint:
            text += f"; {error.hint}"
        text += f" (exit code {exit_code})"
        details: Mapping[str, Json] = {}
        if error is not None:
            problems = problems_of(error)
            if isinstance(problems, dict):
                details = problems
        request_id = None
        if isinstance(error, GatewayError):
            request_id = error.request_id
        self.write(
            LogEntry(
                time.time(),
                logging.ERROR,
                "error",
                text,
                code=code,
                request_id=request_id,
                data=details,
            )
        )

    def result(self, text: str, exit_code: int, code: str | None, data: Mapping[str, Json]) -> None:
        level = logging.ERROR if exit_code else logging.INFO
        self.write(LogEntry(time.time(), level, "result", text, code=code, data=data))

    def end(self) -> None:
        """Detach the log from Python's root logger, and close its file."""
        logging.getLogger().removeHandler(self)
        if self._file is None:
            return
        self._file.close()
        if self._file.missing:
            logger.warning(
                "%d log entries could not be written to %s: %s",
                self._file.missing,
                self._file.path,
                self._file.reason,
            )

    def write(self, entry: LogEntry) -> None:
        """Write an entry, unless only failures are wanted and it isn't one."""
        is_failure = entry.event in LAST and entry.level >= logging.ERROR
        if self._only_failures and not is_failure:
            return
        with self._entry_lock:
            self._write(format_entry(entry, self._context, self._format))


def write_to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the log is there


def open_log(output: CommandOutput, manifest: Path, options: LogOptions) -> None:
    """Open the log of a command and give it to ``answer``, if there is a log file or a format.

    With a format alone, the log is on stderr in place of the text for people; with ``--quiet`` it
    is then only the entry of a failure. Raises ``UserError`` if the file can't be used.
    """
    if options.log_file is None and options.log_format is None:
        return
    file: LogFile | None = None
    write: Callable[[str], object] = write_to_stderr
    if options.log_file is not None:
        file = LogFile(options.log_file)
        write = file.write
    log = RunLog(
        write,
        LogContext(str(manifest)),
        log_format=options.log_format or LogFormat.TEXT,
        verbose=output.verbose,
        only_failures=file is None and output.quiet,
        file=file,
    )
    output.log_is_on_stderr = file is None
    output.log = log
    logging.getLogger().addHandler(log)
    if output.verbose:
        logging.getLogger(_OURS).setLevel(logging.DEBUG)
