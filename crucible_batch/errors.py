"""The exception hierarchy, with the exit code of each error.

    CrucibleBatchError
    ├── UserError              the command or its input is wrong; nothing was spent      exit 2
    │   ├── ManifestError      one or many problems, each with its place
    │   ├── SavedPlanError     a file that is not a saved plan, or was edited
    │   ├── StalePlanError     a saved plan whose terms or jobs have changed
    │   ├── RunDirectoryError  the directory belongs to another run, or can't be used
    │   │   ├── OtherAccountError       the API key is that of another account
    │   │   ├── RunPrunedError          the run's outputs were deleted by prune
    │   │   ├── ShardsOutstandingError  shards of a divided plan are not merged yet
    │   │   └── ShardsUnknownError      shards that the directory's journal doesn't know
    │   ├── NothingToDivideError  no job of a plan can be divided into shards
    │   ├── ConsentError       no budget, and no terminal to ask for consent
    │   ├── BudgetAccountError  the file of a budget account can't be used
    │   ├── EarlierRunError    the manifest was run before, in another directory
    │   ├── ControlError       a command to a run that is not active, or can't do it now
    │   └── NotificationError  a channel of `notify` can't be used
    ├── RunBusyError           another run holds this run directory                      exit 6
    ├── JournalError           the journal can't be read or written                      exit 5
    ├── RunStoppedError        a signal stopped a run whose shards are out             exit 130, 143
    ├── DeadlineError          the deadline passed before the run began                  exit 5
    ├── SpendLimitError        the run could spend more than its server may              exit 4
    ├── ObjectStoreError       the object store refuses a request (2), or failed (5)     exit 2 or 5
    ├── ReportError            the report can't be written; the journal is complete      exit 5
    └── GatewayError           a request that failed                                     exit 5
        ├── KeyRefusedError    no key, or the gateway refused it                         exit 3
        └── NotAGatewayError   the base URL is not a gateway's                           exit 2

An expected failure of a *job* is not an exception but an event (``core.events``). Each error ends
with a hint on what to do next.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crucible_batch.exit_codes import ExitCode as ExitCode  # noqa: PLC0414 - for other modules

NOT_DERIVED = "NOT_DERIVED"
"""A further form of an output could not be made again."""
UNSAFE_URL = "UNSAFE_URL"
"""The code of a ``GatewayError`` for a storage link that is not followed."""

JOB_OF_ANOTHER_KEY = "JOB_OF_ANOTHER_KEY"
"""The code of a ``GatewayError`` for a submit that was answered with the job of another
idempotency key."""


class CrucibleBatchError(Exception):
    """Base class of this package's errors.

    ``code`` is stable and documented; ``hint`` is what the user can do.
    """

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
    """A position in a file.

    Lines and columns count from 1; line 0 means the entire file, and column 0 the entire line.
    ``end_column`` is the first column after the range on the same line; 0 if it ends on another
    line or is unknown.
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
    """A problem in a manifest.

    ``field`` is the dotted path within the manifest (``jobs[2].params.size.width``), empty for the
    entire file. ``nearest`` is the closest known name if the problem is an unknown name. ``row`` is
    the line of the table row that causes the problem, if it isn't in the manifest itself.
    """

    place: Place
    field: str
    message: str
    nearest: str | None = None
    hint: str | None = None
    row: Place | None = dataclasses.field(default=None, compare=False)

    def __str__(self) -> str:
        text = self.message
        if self.field:
            text = f"{self.field}: {text}"
        if self.nearest:
            text += f" (did you mean {self.nearest!r}?)"
        if self.hint:
            text += f" - {self.hint}"
        return f"{self.place}: {text}"


class ManifestError(UserError):
    """A manifest that can't be run, with the problems found, ordered by place.

    ``omitted`` counts further ones.
    """

    code = "INVALID_MANIFEST"

    def __init__(self, problems: Sequence[Problem], *, omitted: int = 0) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.place))
        self.omitted = omitted
        lines = [str(problem) for problem in self.problems]
        if omitted:
            lines.append(f"... and {omitted} more")
        super().__init__("\n".join(lines))


class SavedPlanError(UserError):
    """A saved plan that can't be read.

    It is truncated, edited, of another version, or not a saved plan.
    """

    code = "INVALID_PLAN"


@dataclass(frozen=True, slots=True)
class PlanChange:
    """A difference between a saved plan and the manifest now.

    ``kind`` is ``term``, or, for a job, ``new``, ``changed`` or ``gone``. ``name`` is that of the
    term or the job, and ``message`` describes the change of a term completely, and that of a job
    without its name.
    """

    kind: str
    name: str
    message: str

    def __str__(self) -> str:
        if self.kind == "term":
            return self.message
        return f"{self.name}: {self.message}"


class StalePlanError(UserError):
    """A saved plan whose terms or jobs are not those of the manifest now, so nothing is run.

    ``changes`` are the first changes; ``omitted`` counts the rest.
    """

    code = "STALE_PLAN"

    def __init__(
        self,
        plan: Path,
        changes: Sequence[PlanChange],
        *,
        omitted: int = 0,
        hint: str | None = None,
    ) -> None:
        self.plan = plan
        self.changes = tuple(changes)
        self.omitted = omitted
        lines = [f"{plan} is stale", *(f"  {change}" for change in changes)]
        if omitted:
            lines.append(f"  ... and {omitted} more")
        super().__init__("\n".join(lines), hint=hint)


class RunDirectoryError(UserError):
    """The run directory belongs to another manifest, run id or account, or can't be used."""

    code = "RUN_DIRECTORY"


class OtherAccountError(RunDirectoryError):
    """The key belongs to another account than the run directory.

    Running would buy its jobs again. ``may_be_forgotten``: its key is not known either, so that the
    account may be the same, and the gateway may have forgotten its jobs.
    """

    def __init__(self, directory: object, *, may_be_forgotten: bool = False) -> None:
        hint = "use the API key of that account, or choose another --out-dir"
        if may_be_forgotten:
            hint += (
                "; if this is its account, and the gateway has forgotten these jobs, add "
                "--same-account to run"
            )
        super().__init__(
            f"{directory} belongs to another account: its jobs are not found with this API key",
            hint=hint,
        )


class RunPrunedError(RunDirectoryError):
    """The outputs of this run were deleted by ``prune``.

    Its journal is kept, so nothing is bought again.
    """

    code = "RUN_PRUNED"

    def __init__(self, directory: object, pruned: str) -> None:
        super().__init__(
            f"the outputs of {directory} were deleted by prune on {pruned}; "
            "nothing was bought or downloaded",
            hint=(
                "for a new run, use another --run-id: it pays for its jobs; "
                "to get these outputs back at no cost, while the gateway has them: "
                f"crucible-batch check {shlex.quote(str(directory))} --fix"
            ),
        )


class ShardsOutstandingError(RunDirectoryError):
    """Credits of the run directory are set aside for shards that were not merged yet."""

    code = "SHARDS_OUTSTANDING"

    def __init__(self, directory: object, outstanding: str) -> None:
        super().__init__(
            f"shards of {directory} are not merged yet: {outstanding}",
            hint=f"when the shards have ended: crucible-batch merge {shlex.quote(str(directory))}",
        )


class ShardsUnknownError(RunDirectoryError):
    """There are shards below the run directory that its journal doesn't know.

    What they spend would not count.
    """

    code = "SHARDS_UNKNOWN"

    def __init__(self, directory: object, example: object) -> None:
        super().__init__(
            f"{directory} has shards that its journal doesn't know, such as {example}: "
            "it was lost, or is a backup",
            hint=(
                "restore its journal; or, when they have ended: "
                f"crucible-batch merge {shlex.quote(str(directory))}"
            ),
        )


class NothingToDivideError(UserError):
    """No job of a plan can be divided into shards.

    There is no new one, or the budget is not enough for any.
    """

    code = "NOTHING_TO_DIVIDE"


class ConsentError(UserError):
    """No consent to spend: no budget, no ``--yes``, and no terminal to ask on."""

    code = "CONSENT_NEEDED"


class BudgetAccountError(UserError):
    """The file of a budget account can't be used.

    It may be invalid, or the account has another period, time zone or gateway.
    """

    code = "BUDGET_ACCOUNT"


class SpendLimitError(CrucibleBatchError):
    """The run could spend more than is left of what its server may spend.

    Raised before anything is spent.
    """

    code = "SPEND_LIMIT"
    exit_code = ExitCode.OUT_OF_CREDITS


class EarlierRunError(UserError):
    """The manifest was run before in another directory, and a new run would buy its jobs again.

    ``earlier`` is that directory, ``new`` the one in which the run would begin. ``found`` describes
    the former.
    """

    code = "EARLIER_RUN"

    def __init__(self, earlier: Path, new: Path, found: str, hint: str | None = None) -> None:
        choice = (
            "to continue the earlier run, name its directory: "
            f"--out-dir {shlex.quote(str(earlier))}; "
            f"to begin a new one: --out-dir {shlex.quote(str(new))}"
        )
        super().__init__(
            f"an earlier run of this manifest is in {found}; "
            f"a run from this folder would begin a new one in {new} "
            "and could buy them again; nothing was spent",
            hint=hint or choice,
        )
        self.earlier = earlier
        self.new = new
        self.found = found


class NotificationError(UserError):
    """A channel of the manifest's ``notify`` can't be used.

    So a run would end without its messages. ``problems`` has a sentence for each; none of them
    contains an address or a secret. ``is_test``: no run was meant.
    """

    code = "INVALID_NOTIFICATION"

    def __init__(self, problems: Sequence[str], *, is_test: bool = False) -> None:
        self.problems = tuple(problems)
        hint = "correct them, or run without notifications: --no-notify; nothing was spent"
        if is_test:
            hint = "correct them; no message was sent"
        super().__init__(f"notifications can't be sent: {'; '.join(problems)}", hint=hint)


class CheckCommandError(UserError):
    """A program of the manifest's ``checks`` can't be run. ``problems`` has a sentence for each."""

    code = "INVALID_CHECK"

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        hint = "correct them, or remove the check; nothing was spent"
        super().__init__(f"outputs can't be checked: {'; '.join(problems)}", hint=hint)


class AfterCommandError(UserError):
    """The program of the manifest's ``after`` can't be run; ``problem`` has the reason."""

    code = "INVALID_AFTER"

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(
            f"nothing can be run after outputs: {problem}",
            hint="correct it, or remove `after`; nothing was spent",
        )


class ControlError(UserError):
    """A command to a run that is not taken: no run is active, or it can't do that now."""

    code = "CONTROL_REFUSED"


class RunBusyError(CrucibleBatchError):
    """Another run holds this run directory."""

    code = "RUN_BUSY"
    exit_code = ExitCode.BUSY


class JournalError(CrucibleBatchError):
    """The journal can't be read or written, because of the disk or a damaged file."""

    code = "JOURNAL"


class RunStoppedError(CrucibleBatchError):
    """A signal stopped a run whose shards run elsewhere, or are continued by the same command."""

    code = "INTERRUPTED"
    exit_code = ExitCode.SIGINT

    def __init__(self, exit_code: ExitCode) -> None:
        super().__init__(
            "stopped by a signal; what the shards have bought is in their logs",
            hint="run the same command again: it continues",
        )
        self.exit_code = exit_code


class DeadlineError(CrucibleBatchError):
    """The deadline has passed before the run could begin."""

    code = "DEADLINE"

    def __init__(self) -> None:
        super().__init__(
            "the deadline has passed before the run could begin; nothing was bought",
            hint="run the same command again, with a longer deadline: --deadline DURATION",
        )


class ReportError(CrucibleBatchError):
    """The report can't be written. The journal holds all of its data."""

    code = "REPORT"


class GatewayError(CrucibleBatchError):
    """A failed request to the gateway or its storage.

    ``message`` is the gateway's, if it sent one, else ours; ``hint`` is its advice.
    ``code`` is the gateway's, if it sent one, else ``NO_ANSWER``, ``BAD_ANSWER`` or
    ``HTTP_<status>``; ``BAD_REQUEST`` and ``UNSAFE_URL`` mean that nothing was sent. ``status`` is
    the HTTP status, None without a response. ``in_doubt`` is true if the request may have taken
    effect although there is no definite response; only this field matters for spending.
    ``retry_after_s`` is the wait in seconds that the response asked for, parsed and limited.
    """

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
    def is_pushback(self) -> bool:
        """Whether the answer asks for fewer requests (429 or 503)."""
        return self.status in (429, 503)

    @property
    def is_refusal(self) -> bool:
        """Whether the gateway itself, and not a proxy before it, definitely rejected this request.

        False for an HTML page with status 404, which comes from a proxy, and for 429 and any 5xx;
        these don't determine the state of the job.
        """
        if self.in_doubt or self.status is None:
            return False
        is_readable = not self.code.startswith("HTTP_")
        return is_readable and 400 <= self.status < 429

    @property
    def is_not_found(self) -> bool:
        """Whether the gateway itself answered that what was asked for doesn't exist.

        It is False for an answer of a proxy before it.
        """
        return self.status == 404 and self.is_refusal

    def __str__(self) -> str:
        text = f"{self.code}: {self.message}"
        if self.operation:
            text = f"{self.operation}: {text}"
        if self.status:
            text += f" [HTTP {self.status}]"
        return text


class ObjectStoreError(CrucibleBatchError):
    """A failed request to the object store of the outputs.

    Nothing in it comes from credentials or from the answer. ``is_refused``: the store answered, and
    a repetition would fail too, as without a bucket or access.
    """

    code = "OBJECT_STORE"

    def __init__(self, message: str, *, hint: str, is_refused: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.is_refused = is_refused
        if is_refused:
            self.exit_code = ExitCode.USER_ERROR


class KeyRefusedError(GatewayError):
    """There is no API key, or the gateway refused it (401)."""

    exit_code = ExitCode.KEY_REFUSED


class NotAGatewayError(GatewayError):
    """A 404 or a web page for a path that every gateway has: the base URL is not a gateway's."""

    exit_code = ExitCode.USER_ERROR

    @property
    def is_refusal(self) -> bool:
        """False, whatever the response contains: it is not a gateway's."""
        return False
