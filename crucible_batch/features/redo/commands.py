"""The command ``reject``."""

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
    'crucible-batch reject outputs/herons/default hero-3 --reason "six fingers"',
    "crucible-batch reject outputs/herons/default hero-3 --remove",
)
def reject(
    output: CommandOutput,
    run_dir: opt.RunDir,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME", help="A job, or NAME/INDEX for one of its outputs.", show_default=False
        ),
    ],
    *,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, for the file and the report.")
    ] = "",
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the rejections of these names.")
    ] = False,
    file: Annotated[
        str | None,
        typer.Option("--file", metavar="FILE", help="The file that `run --rejects` was given."),
    ] = None,
) -> None:
    """Reject outputs of a run; its next run buys them again.

    Writes the file that `rejects:` names in the manifest, else
    `rejects.txt` in the run directory; you can also edit it yourself. The
    rejected output stays beside the new one. Needs no API key, and buys nothing.
    """
    from crucible_batch.features.redo.terminal import reject_and_show

    reject_and_show(output, run_dir, names, reason=reason, remove=remove, file=file)
