"""The command that chooses the outputs for the next stage of a run: ``pick``."""

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
    "crucible-batch pick outputs/herons/default draft-3 draft-7",
    "crucible-batch pick outputs/herons/default draft-3/1 --remove",
    "crucible-batch pick outputs/herons/default --list",
    codes=(0, 2, 5, 130),
)
def pick(
    answer: CommandOutput,
    run_dir: opt.RunDir,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="A job, or NAME/INDEX for one of its outputs.",
            show_default=False,
        ),
    ] = None,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the names from the picks.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Only show what is picked.")] = False,
    file: Annotated[
        str | None,
        typer.Option("--file", metavar="FILE", help="The picks file, if the manifest has several for a name."),
    ] = None,
) -> None:
    """Choose the outputs from which the next stage of a run is made.

    Writes the picks file that `pick:` names in the manifest; a text editor
    does as well. The next run of the manifest makes the picked jobs. Needs no
    API key, and buys nothing.
    """
    from crucible_batch.cli.pick import pick_and_tell

    pick_and_tell(answer, run_dir, names or [], remove=remove, show=show, file=file)
