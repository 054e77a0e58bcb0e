"""The commands that maintain run directories: ``verify``, ``clean``, ``prune``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.prune_options import PruneOptions
from crucible_batch.errors import UserError
from crucible_batch.shell_command import DEFAULT_DIRECTORY

commands = typer.Typer()
command = partial(opt.command, commands, "Maintain")


@command(
    "crucible-batch verify outputs/spring/default",
    "crucible-batch verify outputs/spring/default --fix",
    codes=(0, 2, 3, 5, 6, 7, 130),
)
def verify(
    answer: CommandOutput,
    run_dir: opt.RunDir,
    *,
    fix: Annotated[bool, typer.Option("--fix", help="Download missing or damaged outputs again, at no cost.")] = False,
    gateway: opt.GatewayOptions,
    storage_host: opt.StorageHost = None,
) -> None:
    """Check every output on disk against its recorded SHA-256.

    Needs no API key and no network, and works while a run is running.
    With --fix, missing and damaged outputs are downloaded again; a file that
    was changed is kept under another name.
    """
    from crucible_batch.api import local_directory
    from crucible_batch.cli.verify import verify_and_tell

    verify_and_tell(answer, local_directory(run_dir), gateway.settings(storage_host) if fix else None, fix=fix)


@command(
    "crucible-batch clean outputs/spring/default --assets --dry-run",
    "crucible-batch clean outputs/spring/default --assets",
    codes=(0, 2, 3, 5, 6, 130),
)
def clean(answer: CommandOutput, run_dir: opt.RunDir, chosen: opt.CleanOptions, gateway: opt.GatewayOptions) -> None:
    """Delete uploaded images at the gateway, for their rebate.

    Images that an unfinished job needs are kept, also those of the run
    directories beside this one. Local files are not touched. A later job that
    needs a deleted image pays for its upload again.
    Keep this directory, or at least its receipts.jsonl: without them, the
    gateway may refuse to return the outputs of jobs with input images again.
    """
    from crucible_batch.api import local_directory
    from crucible_batch.cli.clean import clean_and_tell

    if not chosen.assets:
        raise UserError("there is nothing selected to clean", hint=f"crucible-batch clean {run_dir} --assets")
    clean_and_tell(answer, local_directory(run_dir), chosen, gateway.settings())


@command(
    "crucible-batch prune --older-than 30d",
    "crucible-batch prune outputs --keep 10 --max-size 50GB --yes",
    codes=(0, 2, 5, 130),
)
def prune(
    answer: CommandOutput,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Directory with runs up to two levels below it.")
    ] = DEFAULT_DIRECTORY,
    *,
    chosen: PruneOptions,
) -> None:
    """Delete the outputs of old runs, by age, count or size.

    Journals, reports and receipts are kept, so that nothing is bought again.
    Kept completely: the newest run of each manifest, and runs that are active,
    unfinished, unreported, or have held credits or unknown jobs. Files that
    the run did not save are never deleted.
    """
    from crucible_batch.cli.prune import prune_and_tell

    prune_and_tell(answer, directory, chosen)
