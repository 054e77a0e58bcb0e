"""The one exception tree, and the exit code of each kind of ending.

    CrucibleBatchError
    ├── UserError              the command or its input is wrong; nothing was spent      exit 2
    │   ├── ManifestError      one or many problems, each with its place
    │   ├── SavedPlanError     a file that is no saved plan, or was changed since it was written
    │   ├── StalePlanError     a saved plan of which something moved since it was made
    │   ├── RunDirectoryError  the directory belongs to another run, or can't be used
    │   └── ConsentError       no budget and nobody to ask
    ├── RunBusyError           another run holds this run directory                      exit 6
    ├── JournalError           the journal can't be read or written                      exit 5
    ├── DeadlineError          the time was over before the run began                    exit 5
    ├── ReportError            the report can't be written; the journal has all of it    exit 5
    └── GatewayError           an exchange that did not end in the wanted answer         exit 5
        └── KeyRefusedError    no key, or the gateway refused it                         exit 3

An expected failure of a *job* is no exception but an event (``domain.events``). The message of each error ends in what
to do next.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

UNSAFE_URL = "UNSAFE_URL"
"""The code of a ``GatewayError`` for a storage link that is not followed."""


JOB_OF_ANOTHER_KEY = "JOB_OF_ANOTHER_KEY"
"""The code of a ``GatewayError`` for a submit that was answered with the job of another idempotency key."""


class ExitCode(enum.IntEnum):
    """How a command ended. Where several apply, the first of 130/143, 3, 5, 4, 1."""

    OK = 0
    SOME_FAILED = 1
    USER_ERROR = 2
    KEY_REFUSED = 3
    OUT_OF_CREDITS = 4
    STOPPED = 5
    BUSY = 6
    DIFFERENCE = 7
    SIGINT = 130
    SIGTERM = 143

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "every job succeeded, or there was nothing left to do",
    ExitCode.SOME_FAILED: "the run finished and some jobs failed",
    ExitCode.USER_ERROR: "the command or the manifest is wrong, or a saved plan is stale; nothing was spent",
    ExitCode.KEY_REFUSED: "no API key, or the gateway refused it",
    ExitCode.OUT_OF_CREDITS: "stopped by the budget or the account's credits; the same command goes on later",
    ExitCode.STOPPED: "the gateway was unusable, time ran out, or a job's fate is unknown; the same command goes on",
    ExitCode.BUSY: "another run holds this run directory",
    ExitCode.DIFFERENCE: "verify or audit found a difference",
    ExitCode.SIGINT: "stopped by Ctrl-C; the same command goes on",
    ExitCode.SIGTERM: "stopped by SIGTERM; the same command goes on",
}


class CrucibleBatchError(Exception):
    """Everything that this package raises on purpose. ``code`` is stable and documented; ``hint`` says what to do."""

    code = "ERROR"
    exit_code = ExitCode.STOPPED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UserError(CrucibleBatchError):
    """The command or its input is wrong. Raised before anything is spent."""

    code = "USAGE"
    exit_code = ExitCode.USER_ERROR


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where in a file something stands. Lines and columns count from 1; line 0 means the file as a whole, and column 0
    the line as a whole.

    ``end_column`` is the first column behind it on the same line; 0 where it ends on another one, or nobody knows.
    """

    file: Path
    line: int = 0
    column: int = 0
    end_column: int = dataclasses.field(default=0, compare=False)

    def __str__(self) -> str:
        where = [str(number) for number in (self.line, self.column) if number]
        return ":".join([str(self.file), *where])


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a manifest.

    ``field`` is the dotted path within the manifest (``jobs[2].params.size.width``), empty for the file as a whole.
    ``nearest`` is the closest known name, where the problem is an unknown one. ``row`` is the line of a table that the
    problem was met with, where the manifest alone doesn't have it.
    """

    place: Place
    field: str
    message: str
    nearest: str | None = None
    hint: str | None = None
    row: Place | None = dataclasses.field(default=None, compare=False)

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        nearest = f" (did you mean {self.nearest!r}?)" if self.nearest else ""
        hint = f" - {self.hint}" if self.hint else ""
        return f"{self.place}: {field}{self.message}{nearest}{hint}"


class ManifestError(UserError):
    """A manifest that can't be run, with all the problems that were found, in the order of their places."""

    code = "INVALID_MANIFEST"

    def __init__(self, problems: Sequence[Problem], *, omitted: int = 0) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.place))
        self.omitted = omitted
        lines = [str(problem) for problem in self.problems]
        if omitted:
            lines.append(f"... and {omitted} more")
        super().__init__("\n".join(lines))


class SavedPlanError(UserError):
    """A saved plan that can't be read: cut short, edited, of another version, or none at all."""

    code = "INVALID_PLAN"


@dataclass(frozen=True, slots=True)
class Move:
    """One thing that is no longer as a saved plan has it.

    ``kind`` is ``gateway``, ``term``, ``manifest``, ``file``, ``workflow``, ``price``, ``image`` or ``job``; ``name``
    is its name, and ``message`` says it all.
    """

    kind: str
    name: str
    message: str

    def __str__(self) -> str:
        return self.message


class StalePlanError(UserError):
    """What a saved plan was made of has moved since, so nothing is run. ``moves`` are the first, ``omitted`` counts
    the rest."""

    code = "STALE_PLAN"

    def __init__(self, plan: Path, moves: Sequence[Move], *, omitted: int = 0, hint: str | None = None) -> None:
        self.plan = plan
        self.moves = tuple(moves)
        self.omitted = omitted
        lines = [f"{plan} is out of date", *(f"  {move}" for move in moves)]
        if omitted:
            lines.append(f"  ... and {omitted} more")
        super().__init__("\n".join(lines), hint=hint)


class RunDirectoryError(UserError):
    """The run directory belongs to another manifest, run id or account, or can't be used."""

    code = "RUN_DIRECTORY"


class OtherAccountError(RunDirectoryError):
    """The key is of another account than the directory's: its jobs would be bought again."""

    def __init__(self, directory: object) -> None:
        super().__init__(
            f"{directory} belongs to another account: this key doesn't find its jobs",
            hint="use that account's key, or choose another --out-dir",
        )


class ConsentError(UserError):
    """Nobody said how much may be spent: no budget, no ``--yes``, and no terminal to ask."""

    code = "CONSENT_NEEDED"


class RunBusyError(CrucibleBatchError):
    """Another run holds this run directory."""

    code = "RUN_BUSY"
    exit_code = ExitCode.BUSY


class JournalError(CrucibleBatchError):
    """The journal can't be read or written: the disk, or a file that is damaged."""

    code = "JOURNAL"
    exit_code = ExitCode.STOPPED


class DeadlineError(CrucibleBatchError):
    """The deadline has passed before the run could begin."""

    code = "DEADLINE"
    exit_code = ExitCode.STOPPED

    def __init__(self) -> None:
        super().__init__(
            "the deadline has passed before the run could begin; nothing was bought",
            hint="run the same command again, with a longer --deadline",
        )


class ReportError(CrucibleBatchError):
    """The report can't be written. The journal holds all that it would say."""

    code = "REPORT"
    exit_code = ExitCode.STOPPED


class GatewayError(CrucibleBatchError):
    """An exchange with the gateway or its storage that did not end in the wanted answer.

    ``error`` says what went wrong, in the gateway's words where it sent some, and ``hint`` what it advises. ``code`` is
    the gateway's own where it sent one, else one of ours (``NO_ANSWER``, ``BAD_ANSWER``, ``HTTP_<status>``;
    ``BAD_REQUEST`` and ``UNSAFE_URL`` for what was never sent). ``status`` is the HTTP status, None where no answer
    came. ``in_doubt`` is true where the request may have taken effect although no definite answer says so: the one
    thing that money depends on.
    ``retry_after_s`` is what the answer asked for, already read and bounded.
    """

    exit_code = ExitCode.STOPPED

    def __init__(
        self,
        message: str,
        *,
        code: str,
        operation: str = "",
        status: int | None = None,
        hint: str | None = None,
        request_id: str | None = None,
        in_doubt: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.operation = operation
        self.status = status
        self.request_id = request_id
        self.in_doubt = in_doubt
        self.retry_after_s = retry_after_s

    @property
    def error(self) -> str:
        """What went wrong, in the gateway's words where it sent some (``message`` is the same)."""
        return self.message

    @property
    def is_refusal(self) -> bool:
        """Whether the gateway itself, and not something in front of it, definitely said no to this one request.

        An HTML page with status 404 is the edge's and says nothing of the job; neither does a 429, nor any 5xx.
        """
        readable = not self.code.startswith("HTTP_")
        return readable and not self.in_doubt and self.status is not None and 400 <= self.status < 429

    def __str__(self) -> str:
        where = f"{self.operation}: " if self.operation else ""
        status = f" [HTTP {self.status}]" if self.status else ""
        return f"{where}{self.code}: {self.message}{status}"


class KeyRefusedError(GatewayError):
    """There is no API key, or the gateway refused it (401)."""

    exit_code = ExitCode.KEY_REFUSED
