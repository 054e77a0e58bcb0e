"""The commands for the budgets of periods: ``budget show``, ``budget release``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.help_text import PlainGroup

commands = typer.Typer(name="budget", cls=PlainGroup, no_args_is_help=True)
command = partial(opt.command, commands, "Budgets")


@commands.callback(rich_help_panel="Automate")
def _about() -> None:
    """Show and release the budgets that manifests with `budget.per` share."""


@command(
    "crucible-batch budget show",
    "crucible-batch budget show studio --json",
    output="json verbose",
    name="budget show",
)
def show(
    output: CommandOutput,
    account: Annotated[
        str | None,
        typer.Argument(metavar="ACCOUNT", help="Show this account only.", show_default=False),
    ] = None,
) -> None:
    """Show what is used of each account's period, and by which runs.

    Credits that a run has set aside are not available to other runs until it
    ends. Needs neither a gateway nor an API key.
    """
    from crucible_batch.features.periods.terminal import show_budgets

    show_budgets(output, account)


@command(
    "crucible-batch budget release studio outputs/spring/2026-11-26",
    "crucible-batch budget release studio outputs/spring/2026-11-26 --forget-unanswered",
    name="budget release",
)
def release(
    output: CommandOutput,
    account: Annotated[
        str,
        typer.Argument(
            metavar="ACCOUNT", help="Name in `budget.account` of the manifests.", show_default=False
        ),
    ],
    run_dir: opt.RunDir,
    *,
    forget_unanswered: Annotated[
        bool,
        typer.Option(
            "--forget-unanswered",
            help=(
                "Also release credits held for unanswered requests,"
                " and for failed jobs whose refund was not seen."
                " The gateway may have charged them."
            ),
        ),
    ] = False,
) -> None:
    """Release the credits that a killed run has set aside and not spent.

    The run's journal has what it spent. Running the same command again does
    this too. If the directory can't be read, all that was set aside counts as
    spent: it may only be renamed, and the run may continue. Refused while the
    run is active.
    """
    from crucible_batch.features.periods.terminal import release_and_show

    release_and_show(output, account, run_dir, forget_unanswered=forget_unanswered)
