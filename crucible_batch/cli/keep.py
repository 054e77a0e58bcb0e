"""The commands that keep a run directory in order: ``verify``."""

# ruff: noqa: PLC0415, PLR0917 - a command imports what it needs when it runs; Typer passes by name

from __future__ import annotations

from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.answer import answering
from crucible_batch.cli.help_text import epilog

commands = typer.Typer()
_PANEL = "Keep in order"


@commands.command(
    rich_help_panel=_PANEL,
    epilog=epilog(
        "crucible-batch verify outputs/spring/default",
        "crucible-batch verify outputs/spring/default --fix",
        codes=(0, 2, 3, 5, 6, 7, 130),
    ),
)
def verify(
    run_dir: opt.RunDir,
    fix: Annotated[
        bool, typer.Option("--fix", help="Download again what is missing or damaged, for no credits.")
    ] = False,
    api_base: opt.ApiBase = None,
    proxy: opt.Proxy = None,
    json: opt.AsJson = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Check every output on disk against its recorded SHA-256.

    Needs no key and no network, and works while a run is going on.
    With --fix the recorded bytes are downloaded again; a file that you changed is kept under another name.
    """
    with answering("verify", json=json, quiet=quiet, verbose=verbose) as answer:
        from crucible_batch.cli.verifying import verify_and_tell

        verify_and_tell(answer, run_dir, fix=fix, api_base=api_base, proxy=proxy)
