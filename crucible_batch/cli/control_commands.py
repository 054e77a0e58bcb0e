"""The command for runs that are active: ``ctl``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.answer import CommandOutput

commands = typer.Typer()
command = partial(opt.command, commands, "Create images")


@command(
    "crucible-batch ctl outputs/spring/default pause",
    "crucible-batch ctl outputs/spring/default resume",
    "crucible-batch ctl outputs/spring/default concurrency 8",
    "crucible-batch ctl outputs/spring/default retry 'hero-*'",
    codes=(0, 2, 5),
)
def ctl(
    answer: CommandOutput,
    run_dir: opt.RunDir,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND",
            help="pause, resume, stop, concurrency N, deadline DURATION (from now), or retry NAME...",
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
    by its user.
    """
    from crucible_batch.api import local_directory
    from crucible_batch.cli.control import control_and_tell

    control_and_tell(answer, local_directory(run_dir), words)
