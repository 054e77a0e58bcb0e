"""The commands that maintain a run directory: ``verify``, ``clean``."""

# ruff: noqa: PLC0415, PLR0917 - a command imports what it needs when it runs; Typer passes by name

from __future__ import annotations

from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.answer import answering
from crucible_batch.cli.options import epilog
from crucible_batch.errors import UserError

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
    storage_host: opt.StorageHost = None,
    json: opt.AsJson = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Check every output on disk against its recorded SHA-256.

    Needs no key and no network, and works while a run is going on.
    With --fix the recorded bytes are downloaded again; a file that you changed is kept under another name.
    """
    with answering("verify", json=json, quiet=quiet, verbose=verbose) as answer:
        from crucible_batch.cli.verify import verify_and_tell

        verify_and_tell(
            answer, run_dir, fix=fix, api_base=api_base, proxy=proxy, storage_hosts=tuple(storage_host or ())
        )


@commands.command(
    rich_help_panel=_PANEL,
    epilog=epilog(
        "crucible-batch clean outputs/spring/default --assets --dry-run",
        "crucible-batch clean outputs/spring/default --assets",
        codes=(0, 2, 3, 5, 6, 130),
    ),
)
def clean(
    run_dir: opt.RunDir,
    assets: Annotated[
        bool, typer.Option("--assets", help="The input images that this run uploaded and nobody needs any more.")
    ] = False,
    found: Annotated[
        bool, typer.Option("--found", help="Those too that another run uploaded, and this one only found.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what it would delete.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask; without a terminal nobody is asked.")] = False,
    api_base: opt.ApiBase = None,
    proxy: opt.Proxy = None,
    json: opt.AsJson = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Delete uploaded images at the gateway, for their rebate.

    What an unfinished job needs stays, in this run directory and in those beside it. Your files and the outputs are
    not touched. A job that wants such an image later pays for its upload again.
    Keep this directory, or its receipts.jsonl: without both, a gateway may refuse to hand the pictures of jobs with
    images out again.
    """
    with answering("clean", json=json, quiet=quiet, verbose=verbose) as answer:
        from crucible_batch.cli.clean import CleanArguments, clean_and_tell

        if not assets:
            raise UserError("nothing says what to clean", hint=f"crucible-batch clean {run_dir} --assets")
        clean_and_tell(answer, CleanArguments(run_dir, found, dry_run, yes, api_base, proxy))
