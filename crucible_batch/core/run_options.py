"""The options of a run, each declared once: a field with its type, its default, and ``Option``.

What is made from a field                                 where
the option of the command line, with its parser           ``cli/declared_options.py``
the keyword argument of ``run``, ``plan``, ``validate``   ``runs/keywords.py``
the field of ``RunRequest``, and its check                ``runs/request.py``
the manifest's value where the caller chose none          ``runs/draft.py``, by ``manifest_key``
what a saved plan fixes (``PlanningOptions`` too)         ``runs/request.py``, ``saved_plan.py``
the documentation                                         ``docs/python.md``, the command's help

A new option is a field here, and its use; one that a saved plan fixes is also a field of its format
(``core/saved_plan.py``).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeAlias, get_type_hints

from crucible_batch.core.credits import Credits, format_credits, parse_credits
from crucible_batch.core.engine_options import (
    DEFAULT_JOB_TIMEOUT_S,
    DEFAULT_KEY_TTL_S,
    DEFAULT_WAIT_FOR_GATEWAY_S,
)
from crucible_batch.core.output_path import MOST_PIXELS
from crucible_batch.errors import UserError

DEFAULT_MAX_JOBS = 100_000
DEFAULT_MAX_MANIFEST_BYTES = 16 * 1024 * 1024

SPENDING, JOBS, PACE = "Spending", "Which jobs", "Time and pace"
OUTPUT, METRICS, NOTIFICATIONS = "Output", "Metrics", "Notifications"
"""The panels of the command's help."""


class Written(enum.Enum):
    """How a value is written on the command line. Without one it is a flag."""

    CONCURRENCY = "N|auto"
    COUNT = "N"
    RATE = "N per second"
    DURATION = "DURATION"
    DURATION_OR_0 = "DURATION or 0"
    SIZE = "SIZE"
    PIXELS = "N pixels"
    TIME = "TIME"
    DIRECTORY = "DIR"
    ADDRESS = "ADDR"
    CREDITS = "N credits"
    ID = "ID"
    NAMES = "NAME, repeated"
    VARIABLES = "K=V, repeated"


@dataclass(frozen=True, slots=True)
class Range:
    """The values that are accepted beside None, if that is the default.

    ``words`` follow ``must be``.
    """

    words: str
    has: Callable[[Any], bool]


# NaN is in none of them: all comparisons with it are false.
_ABOVE_0 = Range("more than 0", lambda value: value > 0)
_AT_LEAST_0 = Range("0 or more", lambda value: value >= 0)
_FINITE = Range("0 or more", lambda value: 0 <= value < float("inf"))
_AT_LEAST_1 = Range("at least 1", lambda value: value >= 1)
_CONCURRENCY = Range(
    'at least 1, or "auto"',
    lambda value: value == "auto" or (isinstance(value, int | float) and value >= 1),
)
_PIXELS = Range(
    f"from 1 to {MOST_PIXELS:,}, the most that Pillow reads",
    lambda value: 1 <= value <= MOST_PIXELS,
)


@dataclass(frozen=True, slots=True)
class Option:
    """The declaration of an option beside its name, type and default.

    ``flags`` are separated by spaces; one that begins with ``--no-`` turns the value off. The value
    of ``manifest_key`` counts if the caller chose none.
    """

    flags: str
    help: str
    panel: str
    written: Written | None = None
    range: Range | None = None
    envvar: str | None = None
    manifest_key: str | None = None

    @property
    def flag(self) -> str:
        return self.flags.split()[0]

    def words(self, value: object) -> list[str]:
        """Return the words of a command with this value; none for what need not be given."""
        if self.written is None:
            return [self.flag] if bool(value) is not self.turns_off else []
        return [word for text in _texts(value) for word in (self.flag, text)]

    def read(self, value: Any) -> Any:
        """Return a value that was given, in Python or on the command line, as a request has it.

        Raises ``UserError`` if it can't be read.
        """
        match self.written:
            case Written.NAMES:
                return tuple(value)
            case Written.VARIABLES:
                return read_variables(value or {})
            case Written.CREDITS:
                return read_budget(value)
            case Written.DIRECTORY if value is not None:
                return Path(value)
            case _:
                return value

    @property
    def turns_off(self) -> bool:
        return self.flags.startswith("--no-")


def _texts(value: object) -> Iterator[str]:
    """Yield the texts after the option's flag, each time that it is given."""
    match value:
        case None:
            return
        case Decimal():
            yield format_credits(value)
        case datetime():
            yield value.isoformat().replace("+00:00", "Z")
        case tuple():
            yield from value
        case Mapping():
            yield from (f"{name}={text}" for name, text in value.items())
        case _:
            yield str(value)


def read_budget(budget: Credits | int | str | None) -> Credits | None:
    """Return the budget as an exact amount. Raises ``UserError`` if it can't be parsed."""
    if budget is None:
        return None
    try:
        return parse_credits(budget)
    except ValueError as error:
        raise UserError(
            f"budget: {error}", hint="give a Decimal, a whole number or text such as '12.5'"
        ) from None


def read_variables(given: Mapping[str, str] | Sequence[str]) -> dict[str, str]:
    """Return variables, or parse the ``name=value`` pairs of ``--var``; the last of a name wins.

    Raises ``UserError`` if a pair is invalid.
    """
    if isinstance(given, Mapping):
        return dict(given)
    variables = {}
    for assignment in given:
        name, sign, value = assignment.partition("=")
        if not sign or not name.strip():
            raise UserError(
                f"--var: {assignment!r} is not of the form name=value",
                hint="such as --var brand=Acme",
            )
        variables[name.strip()] = value
    return variables


@dataclass(frozen=True, kw_only=True)
class PlanningOptions:
    """The options for planning a manifest: where, which jobs, for how much. A saved plan fixes
    them.

    The types are those of the Python API; ``Option.read`` makes those of ``RunRequest``. Without
    slots, so that a class can inherit it beside other options.
    """

    out_dir: Annotated[
        str | Path | None,
        Option(
            "--out-dir",
            "Run directory, or its s3://, gs://, az:// or file:/// URL."
            "  \\[default: outputs/NAME/RUN_ID]",
            JOBS,
            Written.DIRECTORY,
        ),
    ] = None
    run_id: Annotated[
        str | None,
        Option(
            "--run-id",
            "Id of the run, also a template such as {{ date }}; a new id is a new run that "
            "pays for all its jobs again.  \\[default: the manifest's run_id, else default]",
            JOBS,
            Written.ID,
        ),
    ] = None
    budget: Annotated[
        Decimal | int | str | None,
        Option(
            "--budget --max-cost",
            "Spend at most N credits, over all runs in the directory. "
            "Overrides the manifest's budget.",
            SPENDING,
            Written.CREDITS,
        ),
    ] = None
    retry_failed: Annotated[
        bool, Option("--retry-failed", "Retry jobs that failed permanently.", JOBS)
    ] = False
    only: Annotated[
        Sequence[str],
        Option(
            "--only", "Run only jobs with this name or pattern; repeatable.", JOBS, Written.NAMES
        ),
    ] = ()
    variables: Annotated[
        Mapping[str, str] | None,
        Option("--var", "Set a template variable; repeatable.", JOBS, Written.VARIABLES),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestOptions:
    """The options for reading a manifest. A saved plan fixes them."""

    allow_outside: Annotated[
        bool, Option("--allow-outside", "Allow files outside the manifest's folder.", JOBS)
    ] = False
    """Allow files outside the manifest's folder."""

    max_jobs: Annotated[
        int, Option("--max-jobs", "Refuse a manifest with more jobs.", JOBS, Written.COUNT)
    ] = DEFAULT_MAX_JOBS
    """Refuse a manifest with more jobs; 100,000 by default."""

    max_manifest_bytes: Annotated[
        int,
        Option(
            "--max-manifest-size",
            "Refuse a larger manifest.  \\[default: 16MiB]",
            JOBS,
            Written.SIZE,
        ),
    ] = DEFAULT_MAX_MANIFEST_BYTES
    """Refuse a larger manifest; 16 MiB by default."""

    scheduled_at: Annotated[
        datetime | None,
        Option(
            "--scheduled-at",
            "Scheduled time for run ids and templates, such as 2026-11-26T03:15:00+01:00."
            "  \\[default: CRUCIBLE_BATCH_SCHEDULED_AT, else the schedule's latest, else now]",
            JOBS,
            Written.TIME,
        ),
    ] = None
    """The scheduled time of the run, with a time zone, for run ids and templates. None, the
    default: that of the environment, otherwise the latest time of the manifest's schedule,
    otherwise now."""


class NamedJob(Protocol):
    """A planned job, as far as options choose by it."""

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(ManifestOptions):
    """The further options of a run."""

    yes: Annotated[
        bool, Option("--yes -y", "Start without a budget, without asking.", SPENDING)
    ] = False
    """Start without a budget and without asking."""

    resubmit_unknown: Annotated[
        bool,
        Option(
            "--resubmit-unknown",
            "Resend submits that were never answered, even if their idempotency keys may have "
            "expired. With --retry-failed, also buy again what a lost run directory has bought "
            "(IDEMPOTENCY_KEY_REUSED).",
            SPENDING,
        ),
    ] = False
    """Resend submits without an answer even if the gateway may no longer know their idempotency
    keys."""

    forget_refunds: Annotated[
        bool,
        Option(
            "--forget-refunds",
            "Release the credits held for failed jobs whose refund the gateway's ledger no longer "
            "shows. They may not have been refunded: check the account first.",
            SPENDING,
        ),
    ] = False
    """Release the credits that are held for failed jobs whose refund the gateway's ledger no longer
    shows. The journal records who did so."""

    same_account: Annotated[
        bool,
        Option(
            "--same-account",
            "Accept a renewed API key as the same account's, if no earlier job or image can "
            "confirm it.",
            SPENDING,
        ),
    ] = False
    """Accept a renewed API key as one of the directory's account if no purchase proves it."""

    recover: Annotated[
        bool,
        Option(
            "--recover",
            "Recover the jobs of a lost run directory; stop if the gateway no longer has them.",
            JOBS,
        ),
    ] = False
    """Fetch again what an earlier run bought, after its directory was lost. Stops at the first sign
    that the gateway no longer knows the idempotency keys."""

    concurrency: Annotated[
        int | Literal["auto"] | None,
        Option(
            "--concurrency -c",
            "Maximum number of jobs in flight; auto adapts it."
            "  \\[default: the manifest's, else auto]",
            PACE,
            Written.CONCURRENCY,
            _CONCURRENCY,
            manifest_key="concurrency",
        ),
    ] = None
    """The maximum number of jobs in flight. "auto": adapted to what the gateway accepts and keeps
    busy. None, the default: that of the manifest, otherwise "auto"."""

    polls_per_s: Annotated[
        float | None,
        Option(
            "--polls-per-second",
            "Maximum rate of status requests, over all jobs."
            "  \\[default: as the jobs in flight require]",
            PACE,
            Written.RATE,
            _ABOVE_0,
        ),
    ] = None
    """The maximum number of polls per second, for all jobs together.

    None, the default: as many as needed.
    """

    job_timeout_s: Annotated[
        float,
        Option(
            "--job-timeout",
            "Maximum time to wait for one job: 90s, 5m, 1h30m.  \\[default: 30m]",
            PACE,
            Written.DURATION,
            _ABOVE_0,
        ),
    ] = DEFAULT_JOB_TIMEOUT_S
    """The time to wait for one job, in seconds; 30 minutes by default."""

    deadline_s: Annotated[
        float | None,
        Option(
            "--deadline",
            "Stop after DURATION; run the same command again to resume."
            "  \\[default: the manifest's]",
            PACE,
            Written.DURATION,
            _ABOVE_0,
            manifest_key="deadline",
        ),
    ] = None
    """Seconds from the call; None, the default: that of the manifest. Before the first job
    ``DeadlineError`` is raised; after that the run is stopped in good order."""

    wait_for_gateway_s: Annotated[
        float,
        Option(
            "--wait-for-gateway",
            "Maximum time to wait for a gateway that is unusable; nothing is bought meanwhile. "
            "0: do not wait.  \\[default: 10m]",
            PACE,
            Written.DURATION_OR_0,
            _FINITE,
        ),
    ] = DEFAULT_WAIT_FOR_GATEWAY_S
    """The longest outage of the gateway that the run waits for, in seconds; 10 minutes by default.
    Nothing new is bought meanwhile. 0: an outage is not waited for."""

    key_ttl_s: Annotated[
        float,
        Option(
            "--key-ttl",
            "How long the gateway is assumed to remember an idempotency key.  \\[default: 24h]",
            PACE,
            Written.DURATION,
            _AT_LEAST_0,
        ),
    ] = DEFAULT_KEY_TTL_S
    """The time for which the gateway honours an idempotency key, in seconds; a day by default. A
    submit without an answer is sent again within that time, and after that only with
    ``resubmit_unknown``."""

    max_output_bytes: Annotated[
        int | None,
        Option(
            "--max-output-size",
            "Refuse to save larger outputs.  \\[default: 256MiB]",
            OUTPUT,
            Written.SIZE,
            _AT_LEAST_1,
        ),
    ] = None
    """Don't save a larger output (``OUTPUT_UNAVAILABLE``); 256 MiB by default."""

    max_pixels: Annotated[
        int | None,
        Option(
            "--max-pixels",
            "Refuse to save outputs with more pixels.  \\[default: 100MP]",
            OUTPUT,
            Written.PIXELS,
            _PIXELS,
        ),
    ] = None
    """Don't save an output with more pixels (``OUTPUT_UNAVAILABLE``); 100 million by default."""

    html: Annotated[bool, Option("--no-html", "Do not write report.html.", OUTPUT)] = True
    """Write ``report.html`` beside ``report.json``; true by default.

    If it can't be written, that is only logged.
    """

    sidecars: Annotated[
        bool,
        Option(
            "--no-sidecars",
            "Do not write the JSON files beside outputs that the manifest asks for.",
            OUTPUT,
        ),
    ] = True
    """Write a sidecar file with its provenance beside each output, if the manifest asks for it."""

    bell: Annotated[
        bool,
        Option(
            "--bell", "Ring the terminal's bell at the end of a run of more than a minute.", OUTPUT
        ),
    ] = False
    """Ring the terminal's bell at the end of a run of more than a minute; only the command line has
    a terminal."""

    metrics_textfile: Annotated[
        Path | None,
        Option(
            "--metrics-textfile",
            "Write crucible-batch-NAME.prom to DIR at the end, for Prometheus' textfile collector."
            "  \\[default: CRUCIBLE_BATCH_METRICS_TEXTFILE]",
            METRICS,
            Written.DIRECTORY,
            envvar="CRUCIBLE_BATCH_METRICS_TEXTFILE",
        ),
    ] = None
    """The directory in which the metrics of the run are written at its end, for the textfile
    collector of Prometheus' node exporter. None, the default: they are not written."""

    metrics_listen: Annotated[
        str | None,
        Option(
            "--metrics-listen",
            "Serve metrics during the run at this address: 9464 or 127.0.0.1:9464. Other hosts can "
            "read them only if they can reach it.",
            METRICS,
            Written.ADDRESS,
        ),
    ] = None
    """The address at which the metrics can be read during the run, such as "127.0.0.1:9464". A port
    alone is that of the loopback interface. None, the default: none."""

    notify: Annotated[
        bool, Option("--no-notify", "Do not send the notifications of the manifest.", NOTIFICATIONS)
    ] = True
    """Send the notifications of the manifest; true by default. If one can't be sent, that is only
    logged and reported."""

    allow_command: Annotated[
        bool,
        Option(
            "--allow-command",
            "Run the commands that the manifest names. Only if you trust the manifest.",
            NOTIFICATIONS,
            envvar="CRUCIBLE_BATCH_ALLOW_COMMANDS",
        ),
    ] = False
    """Run the commands that the manifest names; false by default, and then a manifest with one is
    refused."""


def option_flag(name: str) -> str:
    """Return the flag of a feature's option whose value a saved plan fixes."""
    return f"--{name.replace('_', '-')}"


class FeatureOptions:
    """The options that a feature adds to a command, as given: the base of its dataclass."""

    @property
    def fixed(self) -> Mapping[str, int]:
        """The values that a saved plan fixes, by the names of their fields."""
        return {}

    def faults(self) -> Iterator[str]:
        """Yield what is wrong with the values."""
        yield from ()

    def chosen(self, jobs: Iterator[NamedJob]) -> Set[str] | None:
        """Return the names of the jobs that a run takes of these; None: all.

        They are in manifest order, and those that ``--only`` takes. What is made from a job
        follows it, and is not among them.
        """
        return None

    @property
    def title(self) -> str:
        """What is shown after the name of the run."""
        return ""

    @property
    def runner(self) -> str | None:
        """A reference to what makes the run in place of ``run_request``, with its arguments."""
        return None

    @property
    def repeated(self) -> Mapping[str, str]:
        """Options, with their values, that the same command needs again although they may not have
        been typed."""
        return {}


Options: TypeAlias = type[PlanningOptions] | type[ManifestOptions]


def declared(*options: Options) -> Mapping[str, tuple[Option, object]]:
    """Return the declaration and the default of each option, by its name."""
    found = {}
    for each in options:
        hints = get_type_hints(each, include_extras=True)
        for field in fields(each):
            for option in getattr(hints[field.name], "__metadata__", ()):
                assert field.default is not MISSING
                found[field.name] = (option, field.default)
    return found


def faults(options: ManifestOptions) -> Iterator[str]:
    """Yield what is wrong with each value that is out of its range."""
    for name, (option, default) in declared(type(options)).items():
        value = getattr(options, name)
        if option.range is None or (value is None and default is None) or option.range.has(value):
            continue
        or_none = ", or None" if default is None else ""
        yield f"{name} must be {option.range.words}{or_none}, not {value!r}"
