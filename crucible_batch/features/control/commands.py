"""The command ``ctl``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.command_output import CommandOutput

commands = typer.Typer()
command = partial(opt.command, commands, "Create images")


@command(
    "crucible-batch ctl outputs/spring/default pause",
    "crucible-batch ctl outputs/spring/default resume",
    "crucible-batch ctl outputs/spring/default concurrency 8",
    "crucible-batch ctl outputs/spring/default retry 'hero-*'",
)
def ctl(
    output: CommandOutput,
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="A run's directory, such as outputs/NAME/default, or its URL.",
            show_default=False,
        ),
    ],
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND",
            help=(
                "pause, resume, stop, concurrency N, deadline DURATION (from now), or retry NAME..."
            ),
            show_default=False,
        ),
    ],
) -> None:
    """Control a run that is active, from another terminal.

    pause buys nothing more and collects the jobs in flight; resume continues.
    stop is like Ctrl-C in the run's terminal. concurrency changes the number of
    jobs in flight, deadline the time that is left, and retry tries failed jobs
    again, as run --retry-failed --only does. Each command is recorded in the
    journal with its time and user. It must be given on the machine of the run,
    by its user; to the shards of a divided run, on any machine by its URL.
    """
    from crucible_batch.features.control.terminal import control_and_show

    control_and_show(output, run, words)
