"""The command ``spend``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.features.spend.options import SpendBy

commands = typer.Typer()
command = partial(opt.command, commands, "Inspect")


@command(
    "crucible-batch spend",
    "crucible-batch spend --by tag",
    "crucible-batch spend outputs --by month --timezone Europe/Berlin",
    output="json verbose",
)
def spend(
    output: CommandOutput,
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="Directory with runs up to two levels below it, or a run's URL.  "
            "\\[default: outputs, and all runs that you have begun elsewhere]",
            show_default=False,
        ),
    ] = None,
    *,
    by: Annotated[SpendBy, typer.Option("--by", help="What to sum up by.")] = SpendBy.MONTH,
    timezone: Annotated[
        str, typer.Option("--timezone", metavar="ZONE", help="Time zone of the months.")
    ] = "UTC",
) -> None:
    """Show what all runs have spent, by month, workflow or tag.

    Counts what journals have as charged, less refunds, in the month of the
    charge. Also shows which prices have changed. Runs may be active; those
    that can't be read are named. Needs neither a gateway nor an API key.
    """
    from crucible_batch.features.spend.terminal import show_spending

    show_spending(output, directory, by=by, timezone=timezone)
