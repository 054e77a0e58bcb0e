"""The command for runs that are active: ``ctl``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.completion import run_directories

commands = typer.Typer()
command = partial(opt.command, commands, "Create images")

ControlledRun = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="A run's directory, such as outputs/NAME/default, or its URL. With --cluster also its manifest name, or"
        " its id.",
        show_default=False,
        autocompletion=run_directories,
    ),
]
ControlCluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="DSN",
        help="Give the command to a run of a cluster, by the address of its PostgreSQL database; env: that of"
        " CRUCIBLE_BATCH_DSN.  \\[default: that of CRUCIBLE_BATCH_DSN, if RUN is not a run of this machine]",
    ),
]


@command(
    "crucible-batch ctl outputs/spring/default pause",
    "crucible-batch ctl outputs/spring/default resume",
    "crucible-batch ctl outputs/spring/default concurrency 8",
    "crucible-batch ctl outputs/spring/default retry 'hero-*'",
    "crucible-batch ctl spring pause --cluster env",
    codes=(0, 2, 5),
)
def ctl(
    answer: CommandOutput,
    run: ControlledRun,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND",
            help="pause, resume, stop, concurrency N, deadline DURATION (from now), or retry NAME...",
            show_default=False,
        ),
    ],
    *,
    cluster: ControlCluster = None,
) -> None:
    """Control a run that is active, from another terminal.

    pause buys nothing more and collects the jobs in flight; resume continues.
    stop is like Ctrl-C in the run's terminal. concurrency changes the number of
    jobs in flight, deadline the time that is left, and retry tries failed jobs
    again, as run --retry-failed --only does. Each command is recorded in the
    journal with its time and user. It must be given on the machine of the run,
    by its user.

    A run of a cluster takes the same commands from any machine that reaches
    the cluster's database, by the name that `cluster status` shows.
    """
    from crucible_batch.cli.control import control_and_tell

    control_and_tell(answer, run, words, cluster)
