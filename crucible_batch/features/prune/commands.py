"""The command ``prune``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.option_parsers import option_parser, parse_bytes
from crucible_batch.option_values import parse_duration
from crucible_batch.shell_command import DEFAULT_DIRECTORY

commands = typer.Typer()
command = partial(opt.command, commands, "Maintain")


@command(
    "crucible-batch prune --older-than 30d",
    "crucible-batch prune outputs --keep 10 --max-size 50GB --yes",
    "crucible-batch prune outputs/herons/default --rejected",
)
def prune(
    output: CommandOutput,
    directory: opt.RunsDir = DEFAULT_DIRECTORY,
    *,
    older_than: Annotated[
        float | None,
        typer.Option(
            "--older-than",
            metavar="DURATION",
            parser=option_parser(parse_duration),
            help="Prune runs that ended longer ago, such as 30d.",
        ),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep",
            metavar="N",
            min=1,
            help="Keep the newest N runs of each manifest; alone, prune all others.",
        ),
    ] = None,
    max_size: Annotated[
        int | None,
        typer.Option(
            "--max-size",
            metavar="SIZE",
            parser=option_parser(parse_bytes),
            help="Prune the oldest runs until all fit, such as 50GB.",
        ),
    ] = None,
    rejected: Annotated[
        bool,
        typer.Option(
            "--rejected", help="Delete rejected outputs instead, of all runs that are not active."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only show what would be deleted.")
    ] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", "-y", help="Delete without asking; without a terminal and --yes, only show."
        ),
    ] = False,
) -> None:
    """Delete the outputs of old runs, by age, count or size.

    Journals, reports and receipts are kept, so that nothing is bought again.
    Kept completely: the newest run of each manifest, and runs that are active,
    unfinished, unreported, or have held credits or unknown jobs. Files that
    the run did not save are never deleted. --rejected deletes the earlier
    takes of outputs that were bought again, in any run.
    """
    from crucible_batch.features.prune.rejected_terminal import prune_rejected_and_show
    from crucible_batch.features.prune.retention import RetentionRules
    from crucible_batch.features.prune.terminal import prune_and_show

    rules = RetentionRules(older_than, keep, max_size)
    if rejected:
        prune_rejected_and_show(output, directory, rules, dry_run=dry_run, yes=yes)
        return
    prune_and_show(output, directory, rules, dry_run=dry_run, yes=yes)
