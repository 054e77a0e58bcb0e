"""The options of ``run`` that are the command line's alone."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

# One for each panel of the help.
_output = partial(typer.Option, rich_help_panel="Output")
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        "-n",
        help="Only show what would be done and what it would cost, as plan does.",
        rich_help_panel="Spending",
    ),
]
EVERYDAY = {
    "budget": "Spend at most N credits, over all runs.",
    "yes": "Start without a budget, without asking.",
    "dry_run": "Show what would be done, and its cost.",
    "concurrency": "Jobs in flight at the same time.",
    "deadline_s": "Stop after 90m, for example.",
    "out_dir": "Directory of the run and its outputs.",
    "run_id": "Id of the run; a new one buys all again.",
    "only": "Only jobs with this name or pattern.",
    "retry_failed": "Retry jobs that failed permanently.",
    "variables": "Set a template variable.",
    "json": "JSON lines on stdout.",
    "quiet": "Print errors only.",
}
"""The options in the help of ``run``; ``--help-all`` shows all."""
EVERYDAY_OF_PLAN = {
    "budget": EVERYDAY["budget"],
    "save_to": "Save the plan; `run FILE` executes it.",
    "verbose": "List each job, and why it would run.",
    **{
        name: EVERYDAY[name]
        for name in ("out_dir", "run_id", "only", "retry_failed", "variables", "json")
    },
}


class LogFormat(enum.StrEnum):
    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class LogOptions:
    log_file: Annotated[
        Path | None,
        _output("--log-file", metavar="FILE", help="Append a log to FILE, and rotate it by size."),
    ] = None
    log_format: Annotated[
        LogFormat | None,
        _output(
            "--log-format",
            help="Format of the log; without --log-file, "
            "log to stderr instead of showing progress.  \\[default: text]",
        ),
    ] = None
