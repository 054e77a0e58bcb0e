"""The command ``view``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.shell_command import DEFAULT_DIRECTORY

commands = typer.Typer()
command = partial(opt.command, commands, "Inspect")


@command("crucible-batch view", "crucible-batch view outputs/spring/default --open")
def view(
    output: CommandOutput,
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A run's directory, or one with runs up to two levels below it."
        ),
    ] = DEFAULT_DIRECTORY,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the page; 0 chooses a free one.")
    ] = 0,
    open_: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.")
    ] = False,
    control: Annotated[
        bool,
        typer.Option(
            "--control",
            help="Allow commands to runs, and marks of pictures to be saved, from the page with the"
            " printed token only.",
        ),
    ] = False,
) -> None:
    """Show runs on a local web page, updated live.

    It reads the journals, including those of runs that were killed, and changes nothing.
    With --control, pages save marks of pictures, and pause, resume and stop runs.
    If outputs/ has no run yet, the page waits for the first one.
    The page is available on this machine only, but to all of its users.
    Ctrl-C stops the page, with exit code 0; runs continue.
    """
    from crucible_batch.features.view.viewer import serve_view
    from crucible_batch.runs.run_journal import local_directory

    serve_view(output, local_directory(directory), port, open_browser=open_, is_controlled=control)
