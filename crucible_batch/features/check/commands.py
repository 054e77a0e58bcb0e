"""The command ``check``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.command_output import CommandOutput

commands = typer.Typer()
command = partial(opt.command, commands, "Maintain")


@command(
    "crucible-batch check outputs/spring/default",
    "crucible-batch check outputs/spring/default --fix",
    "crucible-batch check outputs/spring/default --outputs",
)
def check(
    output: CommandOutput,
    run_dir: opt.RunDir,
    *,
    fix: Annotated[
        bool, typer.Option("--fix", help="Download missing or damaged outputs again, at no cost.")
    ] = False,
    outputs: Annotated[
        bool,
        typer.Option("--outputs", help="Check only the outputs. Needs no API key and no network."),
    ] = False,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Check only the ledger; -v lists foreign entries.")
    ] = False,
    gateway: opt.GatewayOptions,
    storage_host: opt.StorageHost = None,
) -> None:
    """Check a run's outputs, and its journal against the gateway's ledger.

    Each output on disk is compared with its recorded SHA-256, and each job and
    upload with the ledger, as far back as that reaches. Works while the run is
    running and after it was killed. Spends nothing. Exits with 7 if there is
    a difference.
    With --fix, missing and damaged outputs are downloaded again, and those
    that were never saved; a file that was changed is kept under another name.
    """
    from crucible_batch.features.check.terminal import check_and_show

    check_and_show(
        output, run_dir, gateway.settings(storage_host), outputs=outputs, ledger=ledger, fix=fix
    )
