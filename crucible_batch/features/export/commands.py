"""The command ``export``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.command_output import CommandOutput

commands = typer.Typer()
command = partial(opt.command, commands, "Inspect")


@command(
    "crucible-batch export outputs/herons/default --as captions -o training",
    "crucible-batch export outputs/herons/default --as zip --picked -o for-print",
)
def export(
    output: CommandOutput,
    run_dir: opt.RunDir,
    *,
    form: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="FORM",
            help="captions, imagefolder, webdataset, csv or zip.",
            show_default=False,
        ),
    ],
    to: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Directory for the export, outside of run directories.",
            show_default=False,
        ),
    ],
    picked: Annotated[
        bool, typer.Option("--picked", help="Export only the outputs that were picked.")
    ] = False,
) -> None:
    """Export the pictures of a run with their prompts, for other programs.

    captions: NAME.png and NAME.txt. imagefolder: for `datasets` of Hugging
    Face. webdataset: tar archives. csv: pictures and a table. zip: one archive.
    Exported are outputs of succeeded jobs that are not rejected. The same
    command again writes what is new and removes what was rejected since; it
    overwrites no other file. Works while the run is active. Spends nothing.
    """
    from crucible_batch.features.export.terminal import export_and_show

    export_and_show(output, run_dir, to, form=form, picked=picked)
