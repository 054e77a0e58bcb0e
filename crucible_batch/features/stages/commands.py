"""The command ``pick``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.command_output import CommandOutput

commands = typer.Typer()
command = partial(opt.command, commands, "Create images")


@command(
    "crucible-batch pick outputs/herons/default draft-3 draft-7",
    "crucible-batch pick outputs/herons/default draft-3/1 --remove",
)
def pick(
    output: CommandOutput,
    run_dir: opt.RunDir,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME", help="A job, or NAME/INDEX for one of its outputs.", show_default=False
        ),
    ],
    *,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the names from the picks.")
    ] = False,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", metavar="FILE", help="The picks file, if the manifest has several for a name."
        ),
    ] = None,
) -> None:
    """Choose the outputs from which the next stage of a run is made.

    Writes the picks file that `pick:` names in the manifest; you
    can also edit that file yourself. The next run of the manifest makes the
    picked jobs. Needs no API key, and buys nothing.
    """
    from crucible_batch.features.stages.terminal import pick_and_show

    pick_and_show(output, run_dir, names, remove=remove, file=file)
