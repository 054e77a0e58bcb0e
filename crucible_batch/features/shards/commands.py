"""The command ``merge``."""

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
    "crucible-batch merge outputs/spring/default",
    "crucible-batch merge outputs/spring/default --abandon 3",
    "crucible-batch merge /scratch/1 /scratch/2 --out-dir outputs/spring/default",
)
def merge(
    output: CommandOutput,
    run_dirs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_DIR",
            help="The main run directory, for all shards in it, or the directories of the shards.",
            show_default=False,
        ),
    ],
    *,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out-dir",
            metavar="DIR",
            help="The main run directory, if the shards' directories are not in it.",
        ),
    ] = None,
    abandon: Annotated[
        list[str] | None,
        typer.Option(
            "--abandon",
            metavar="SHARD",
            help="A missing shard that did not run and never will, or all: its credits are"
            " returned. Repeatable.",
        ),
    ] = None,
    no_html: opt.NoHtml = False,
) -> None:
    """Merge the shards of a divided plan into one run directory and report.

    Needs no API key and no network. Outputs are linked or copied, and
    checked; no other file is replaced. What the shards did not spend is
    returned to the budget, and what is left is bought by the next run of the
    manifest. A merge that was stopped is finished by the same command.
    The exit code is that of the worst shard, as of a run.
    """
    from crucible_batch.features.shards.terminal import merge_and_show, read_abandoned

    merge_and_show(output, run_dirs, out_dir, read_abandoned(abandon or []), html=not no_html)
