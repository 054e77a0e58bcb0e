"""The options of ``run``, and those of ``plan`` for shards."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli.option_parsers import (
    option_parser,
    parse_bytes,
    parse_pixels,
    parse_wait,
    read_concurrency,
    read_rate,
)
from crucible_batch.cli.options import AllowCommand, Budget, NoHtml
from crucible_batch.option_values import IfRunning, parse_duration

# One for each panel of the help.
_spending = partial(typer.Option, rich_help_panel="Spending")
_jobs = partial(typer.Option, rich_help_panel="Which jobs")
_pace = partial(typer.Option, rich_help_panel="Time and pace")
_output = partial(typer.Option, rich_help_panel="Output")
_telemetry = partial(typer.Option, rich_help_panel="Metrics")
_notify = partial(typer.Option, rich_help_panel="Notifications")

# One for each kind of value.
_duration = partial(_pace, metavar="DURATION", parser=option_parser(parse_duration))
_size = partial(_output, metavar="SIZE", parser=option_parser(parse_bytes))
_number_of_shards = partial(typer.Option, "--shards", metavar="N", min=1, max=10_000)

Recover = Annotated[
    bool, _jobs("--recover", help="Recover the jobs of a lost run directory; stop if the gateway no longer has them.")
]
Shards = Annotated[
    int | None,
    _number_of_shards(
        help="Divide the plan and its budget into N shards, which `run FILE --shard I/N` runs on any machine.",
        rich_help_panel="Which jobs",
    ),
]
Probe = Annotated[
    bool,
    _jobs(
        "--probe",
        help="First buy one job of each kind without a known price, and upload the images. Spends credits.",
    ),
]
Shard = Annotated[
    str | None,
    _jobs(
        "--shard",
        metavar="I/N",
        help="Run this shard of a divided plan.  \\[default: CRUCIBLE_BATCH_SHARD, else the index of the array job]",
    ),
]

EVERYDAY = {
    "budget": "Spend at most N credits, over all runs.",
    "yes": "Start without a budget, without asking.",
    "dry_run": "Show what would be done, and its cost.",
    "concurrency": "Jobs in flight at the same time.",
    "deadline": "Stop after 90m, for example.",
    "out_dir": "Directory of the run and its outputs.",
    "run_id": "Id of the run; a new one buys all again.",
    "only": "Only jobs with this name or pattern.",
    "retry_failed": "Retry jobs that failed permanently.",
    "var": "Set a template variable.",
    "json": "JSON lines on stdout.",
    "quiet": "Print errors only.",
}
"""The options in the help of ``run``; ``--help-all`` shows all."""
EVERYDAY_OF_PLAN = {
    "budget": EVERYDAY["budget"],
    "save_to": "Save the plan; `run FILE` executes it.",
    "verbose": "List each job, and why it would run.",
    **{name: EVERYDAY[name] for name in ("out_dir", "run_id", "only", "retry_failed", "var", "json")},
}


@dataclass(frozen=True, slots=True)
class SpendingOptions:
    """The options for what a run may spend, and whether it asks first."""

    budget: Budget = None
    yes: Annotated[bool, _spending("--yes", "-y", help="Start without a budget, without asking.")] = False
    dry_run: Annotated[
        bool, _spending("--dry-run", "-n", help="Only show what would be done and what it would cost, as plan does.")
    ] = False
    resubmit_unknown: Annotated[
        bool,
        _spending(
            "--resubmit-unknown",
            help="Resend submits that were never answered, even if their idempotency keys may have expired. With"
            " --retry-failed, also buy again what a lost run directory has bought (IDEMPOTENCY_KEY_REUSED).",
        ),
    ] = False
    forget_refunds: Annotated[
        bool,
        _spending(
            "--forget-refunds",
            help="Release the credits held for failed jobs whose refund the gateway's ledger no longer shows. They may"
            " not have been refunded: check the account first.",
        ),
    ] = False
    same_account: Annotated[
        bool,
        _spending(
            "--same-account",
            help="Accept a renewed API key as the same account's, if no earlier job or image can confirm it.",
        ),
    ] = False


@dataclass(frozen=True, slots=True)
class PaceOptions:
    """The options for how many jobs are in flight, and how long to wait for them."""

    concurrency: Annotated[
        int | None,
        _pace(
            "--concurrency",
            "-c",
            metavar="N|auto",
            parser=read_concurrency,
            help="Maximum number of jobs in flight; auto adapts it.  \\[default: the manifest's, else auto]",
        ),
    ] = None
    polls_per_second: Annotated[
        float | None,
        _pace(
            "--polls-per-second",
            metavar="N",
            parser=read_rate,
            help="Maximum rate of status requests, over all jobs.  \\[default: as the jobs in flight require]",
        ),
    ] = None
    job_timeout: Annotated[
        float | None,
        _duration("--job-timeout", help="Maximum time to wait for one job: 90s, 5m, 1h30m.  \\[default: 30m]"),
    ] = None
    deadline: Annotated[
        float | None,
        _duration(
            "--deadline", help="Stop after DURATION; run the same command again to resume.  \\[default: the manifest's]"
        ),
    ] = None
    wait_for_gateway: Annotated[
        float | None,
        _pace(
            "--wait-for-gateway",
            metavar="DURATION",
            parser=option_parser(parse_wait),
            help="Maximum time to wait for a gateway that is unusable; nothing is bought meanwhile. 0: do not wait."
            "  \\[default: 10m]",
        ),
    ] = None
    key_ttl: Annotated[
        float | None,
        _duration(
            "--key-ttl", help="How long the gateway is assumed to remember an idempotency key.  \\[default: 24h]"
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class ScheduleOptions:
    """The options for runs of a schedule: missed times, and a run that is still active."""

    catch_up: Annotated[
        int | None,
        _pace(
            "--catch-up",
            metavar="N",
            min=0,
            max=366,
            help="First run up to N missed times of the manifest's schedule.  \\[default: schedule.catch_up, else 0]",
        ),
    ] = None
    if_running: Annotated[
        IfRunning | None,
        _pace(
            "--if-running",
            help="If a run of this manifest is active, also under another run id: exit with 6, wait, or exit with 0.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class SavingOptions:
    """The options for which outputs are saved, and which files are written next to them."""

    max_output_size: Annotated[
        int | None, _size("--max-output-size", help="Refuse to save larger outputs.  \\[default: 256MiB]")
    ] = None
    max_pixels: Annotated[
        int | None,
        _output(
            "--max-pixels",
            metavar="N",
            parser=option_parser(parse_pixels),
            help="Refuse to save outputs with more pixels.  \\[default: 100MP]",
        ),
    ] = None
    no_html: NoHtml = False
    no_sidecars: Annotated[
        bool, _output("--no-sidecars", help="Do not write a JSON file with the origin of each output beside it.")
    ] = False


@dataclass(frozen=True, slots=True)
class TelemetryOptions:
    metrics_textfile: Annotated[
        Path | None,
        _telemetry(
            "--metrics-textfile",
            metavar="DIR",
            envvar="CRUCIBLE_BATCH_METRICS_TEXTFILE",
            show_envvar=False,
            help="Write crucible-batch-NAME.prom to DIR at the end, for Prometheus' textfile collector."
            "  \\[default: CRUCIBLE_BATCH_METRICS_TEXTFILE]",
        ),
    ] = None
    metrics_listen: Annotated[
        str | None,
        _telemetry(
            "--metrics-listen",
            metavar="ADDR",
            help="Serve metrics during the run at this address: 9464 or 127.0.0.1:9464. Other hosts can read them only"
            " if they can reach it.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class NotifyOptions:
    """The options for whether notifications are sent, and whether commands are run for them."""

    no_notify: Annotated[bool, _notify("--no-notify", help="Do not send the notifications of the manifest.")] = False
    allow_command: AllowCommand = False


class LogFormat(enum.StrEnum):
    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class LogOptions:
    log_file: Annotated[
        Path | None, _output("--log-file", metavar="FILE", help="Append a log to FILE, and rotate it by size.")
    ] = None
    log_format: Annotated[
        LogFormat | None,
        _output(
            "--log-format",
            help="Format of the log; without --log-file, log to stderr instead of showing progress.  \\[default: text]",
        ),
    ] = None
