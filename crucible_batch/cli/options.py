"""Options that several commands share, each with its flags, help and parser, and groups of options."""

from __future__ import annotations

import enum
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, get_type_hints

import typer
from rich.markup import escape

from crucible_batch.cli.completion import run_directories
from crucible_batch.cli.units import parse_bytes, parse_duration, parse_pixels
from crucible_batch.errors import ExitCode, UserError


def epilog(*examples: str, codes: Iterable[int] = ()) -> str:
    """Return the epilog of a command's help, in Rich markup."""
    title = "Example" if len(examples) == 1 else "Examples"
    paragraphs = ["\n".join([f"[bold]{title}[/bold]", *(f"  {escape(example)}" for example in examples)])]
    if codes:
        paragraphs.append(exit_code_table(codes))
    return "\n\n".join(paragraphs)


def exit_code_table(codes: Iterable[int], *more: str) -> str:
    """Return the exit codes with their meanings, one per line."""
    rows = [_row(ExitCode(code)) for code in codes]
    return "\n".join(["[bold]Exit codes[/bold]", *rows, *more])


def _row(code: ExitCode) -> str:
    """Wrap a row for 80 columns, since Rich would not indent the second line."""
    return textwrap.fill(code.meaning, 74, initial_indent=f"{code.value:>5}  ", subsequent_indent=" " * 7)


MOST_AT_ONCE = 1000


class DisplayMode(enum.StrEnum):
    """The progress display of a run."""

    AUTO = "auto"
    RICH = "rich"
    PLAIN = "plain"
    NONE = "none"


def read_credits(text: str) -> Decimal:
    """Parse an amount of credits. Raises ``typer.BadParameter`` if it is invalid."""
    from crucible_batch.api import parse_credits  # noqa: PLC0415 - imported on use, so that --help stays fast

    try:
        return parse_credits(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _read_duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _read_bytes(text: str) -> int:
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _read_pixels(text: str) -> int:
    try:
        return parse_pixels(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _read_concurrency(text: str) -> int:
    """Parse a number of jobs; return 0 for ``auto``."""
    if text == "auto":
        return 0
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_AT_ONCE):
        raise typer.BadParameter(f"{text!r} is neither auto nor a number from 1 to {MOST_AT_ONCE}")
    return int(text)


def _read_rate(text: str) -> float:
    """Parse a rate per second, a number above 0."""
    rate = float(text) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII) else 0.0
    if rate <= 0:
        raise typer.BadParameter(f"{text!r} is no number above 0, such as 4 or 0.5")
    return rate


def read_variables(assignments: Sequence[str]) -> dict[str, str]:
    """Parse the ``name=value`` pairs of ``--var``; the last of a name wins.

    Raises ``UserError`` if a pair is invalid.
    """
    variables = {}
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not sign or not name.strip():
            raise UserError(f"--var: {assignment!r} is not of the form name=value", hint="--var brand=Acme")
        variables[name.strip()] = value
    return variables


_SPENDING, _JOBS, _PACE = "Spending", "Which jobs", "Time and pace"
_GATEWAY, _OUTPUT = "Gateway", "Output"

ManifestFile = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="The YAML file that says what to make.", show_default=False)
]
ManifestOrPlan = Annotated[
    Path,
    typer.Argument(
        metavar="MANIFEST|PLAN", help="The YAML file that says what to make, or a saved plan.", show_default=False
    ),
]
RunDir = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_DIR",
        help="A run's directory, such as outputs/NAME/default.",
        show_default=False,
        autocompletion=run_directories,
    ),
]

OutDir = Annotated[
    Path | None,
    typer.Option(
        "--out-dir", metavar="DIR", help="Where results go.  \\[default: outputs/NAME/RUN_ID]", rich_help_panel=_JOBS
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only", metavar="NAME", help="Only jobs of this name or pattern; repeatable.", rich_help_panel=_JOBS
    ),
]

Recover = Annotated[
    bool,
    typer.Option(
        "--recover",
        help="Get back what a lost directory had bought; stop if the gateway doesn't remember.",
        rich_help_panel=_JOBS,
    ),
]
SaveTo = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Save the plan, for run to follow.", rich_help_panel=_OUTPUT),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Let -o overwrite a file that isn't of its kind.", rich_help_panel=_OUTPUT),
]

Budget = Annotated[
    Decimal | None,
    typer.Option(
        "--budget",
        "--max-cost",
        metavar="N",
        parser=read_credits,
        help="Spend at most N credits, over all runs in the directory. Wins over the manifest's.",
        rich_help_panel=_SPENDING,
    ),
]

ApiBase = Annotated[
    str | None,
    typer.Option(
        "--api-base",
        metavar="URL",
        help="The gateway; else CRUCIBLE_API_BASE, else production.",
        rich_help_panel=_GATEWAY,
    ),
]
Proxy = Annotated[
    str | None,
    typer.Option("--proxy", metavar="URL", help="None is taken from the environment.", rich_help_panel=_GATEWAY),
]
StorageHost = Annotated[
    list[str] | None,
    typer.Option(
        "--storage-host",
        metavar="HOST",
        help="Let storage links lead to this host in an inner network; repeatable.",
        rich_help_panel=_GATEWAY,
    ),
]

NoHtml = Annotated[bool, typer.Option("--no-html", help="Leave out report.html.", rich_help_panel=_OUTPUT)]
Display = Annotated[
    DisplayMode,
    typer.Option("--display", help="How to show progress.", rich_help_panel=_OUTPUT),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="JSON lines on stdout; words for people on stderr.", rich_help_panel=_OUTPUT)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel=_OUTPUT)]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say more; show the traceback of a bug.", rich_help_panel=_OUTPUT)
]


@dataclass(frozen=True, slots=True)
class SpendingOptions:
    """The options for what a run may spend, and whether it asks first."""

    budget: Budget = None
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Start without a budget, unasked.", rich_help_panel=_SPENDING)
    ] = False
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", "-n", help="Only say what it would do and cost, as plan does.", rich_help_panel=_SPENDING
        ),
    ] = False
    resubmit_unknown: Annotated[
        bool,
        typer.Option(
            "--resubmit-unknown",
            help="Send again what was never answered, even if its key may be forgotten by now.",
            rich_help_panel=_SPENDING,
        ),
    ] = False
    same_account: Annotated[
        bool,
        typer.Option(
            "--same-account",
            help="Take a renewed API key for the account's own, where nothing that was bought shows it.",
            rich_help_panel=_SPENDING,
        ),
    ] = False


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """The options for the run directory, and whether its failed jobs are retried."""

    out_dir: OutDir = None
    run_id: Annotated[
        str | None,
        typer.Option(
            "--run-id",
            metavar="ID",
            help="Another id is another run, paid for anew.  \\[default: default]",
            rich_help_panel=_JOBS,
        ),
    ] = None
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try jobs again that failed for good.", rich_help_panel=_JOBS)
    ] = False


@dataclass(frozen=True, slots=True)
class ManifestOptions:
    """The options for reading a manifest."""

    var: Annotated[
        list[str] | None,
        typer.Option("--var", metavar="K=V", help="Set a template variable; repeatable.", rich_help_panel=_JOBS),
    ] = None
    allow_outside: Annotated[
        bool,
        typer.Option("--allow-outside", help="Let files lie outside the manifest's folder.", rich_help_panel=_JOBS),
    ] = False
    max_jobs: Annotated[
        int, typer.Option("--max-jobs", metavar="N", min=1, help="Refuse a manifest of more.", rich_help_panel=_JOBS)
    ] = 100_000
    max_manifest_size: Annotated[
        int | None,
        typer.Option(
            "--max-manifest-size",
            metavar="SIZE",
            parser=_read_bytes,
            help="Refuse a manifest of more bytes.  \\[default: 16MiB]",
            rich_help_panel=_JOBS,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class PaceOptions:
    """The options for how many jobs are in flight, and how long to wait for them."""

    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            "-c",
            metavar="N|auto",
            parser=_read_concurrency,
            help="The most jobs in flight at once; auto finds out.  \\[default: auto]",
            rich_help_panel=_PACE,
        ),
    ] = None
    polls_per_second: Annotated[
        float | None,
        typer.Option(
            "--polls-per-second",
            metavar="N",
            parser=_read_rate,
            help="Ask about jobs at most N times a second, all together.  \\[default: as jobs in flight need it]",
            rich_help_panel=_PACE,
        ),
    ] = None
    job_timeout: Annotated[
        float | None,
        typer.Option(
            "--job-timeout",
            metavar="DURATION",
            parser=_read_duration,
            help="Wait this long for one job: 90s, 5m, 1h30m.  \\[default: 30m]",
            rich_help_panel=_PACE,
        ),
    ] = None
    deadline: Annotated[
        float | None,
        typer.Option(
            "--deadline",
            metavar="DURATION",
            parser=_read_duration,
            help="End the command after this long, its planning too; the same command goes on.",
            rich_help_panel=_PACE,
        ),
    ] = None
    key_ttl: Annotated[
        float | None,
        typer.Option(
            "--key-ttl",
            metavar="DURATION",
            parser=_read_duration,
            help="How long the gateway is trusted to know a key.  \\[default: 24h]",
            rich_help_panel=_PACE,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class SavingOptions:
    """The options for which outputs are saved, and which files are written next to them."""

    max_output_size: Annotated[
        int | None,
        typer.Option(
            "--max-output-size",
            metavar="SIZE",
            parser=_read_bytes,
            help="Save no output of more bytes.  \\[default: 256MiB]",
            rich_help_panel=_OUTPUT,
        ),
    ] = None
    max_pixels: Annotated[
        int | None,
        typer.Option(
            "--max-pixels",
            metavar="N",
            parser=_read_pixels,
            help="Save no output of more pixels.  \\[default: 100MP]",
            rich_help_panel=_OUTPUT,
        ),
    ] = None
    no_html: NoHtml = False
    no_sidecars: Annotated[
        bool,
        typer.Option(
            "--no-sidecars", help="Write no file beside each output that says what made it.", rich_help_panel=_OUTPUT
        ),
    ] = False


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each option group in a command's signature by its fields, so that Typer sees them as parameters."""
    groups: dict[str, type] = {}
    parameters: list[Parameter] = []
    for parameter in signature(command, eval_str=True).parameters.values():
        group = parameter.annotation
        if isinstance(group, type) and is_dataclass(group):
            groups[parameter.name] = group
            hints = get_type_hints(group, include_extras=True)
            parameters += [
                parameter.replace(name=each.name, default=each.default, annotation=hints[each.name])
                for each in fields(group)
            ]
        else:
            parameters.append(parameter)

    @wraps(command)
    def flat(**given: object) -> None:
        for name, group in groups.items():
            given[name] = group(**{each.name: given.pop(each.name) for each in fields(group)})
        command(**given)

    vars(flat)["__signature__"] = signature(command).replace(parameters=parameters)
    return flat
