"""The commands for getting started: ``demo``, ``init``, ``sandbox``, ``doctor``."""

# ruff: noqa: PLC0415, PLR0917 - a command imports what it needs when it runs; Typer passes by name

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.answer import answering
from crucible_batch.cli.options import epilog, read_credits

commands = typer.Typer()
_PANEL = "Start"


@commands.command(rich_help_panel=_PANEL, epilog=epilog("crucible-batch demo", codes=(0, 1, 2, 5, 130)))
def demo(
    out_dir: opt.OutDir = None,
    open_: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open",
            help="Open the comparison grid in a browser.  [default: on a terminal, where there is a screen]",
            show_default=False,
        ),
    ] = None,
    display: opt.Display = opt.DisplayMode.AUTO,
    json: opt.AsJson = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Make thirty images on a local gateway, in seconds, and open them as a grid.

    It needs no account, no key and no network.
    """
    with answering("demo", json=json, quiet=quiet, verbose=verbose) as answer:
        from crucible_batch.cli.demo import run_demo

        run_demo(answer, out_dir=out_dir, display=display, open_page=open_)


@commands.command(
    rich_help_panel=_PANEL,
    epilog=epilog("crucible-batch init my-batch", "cd my-batch && crucible-batch plan manifest.yaml", codes=(0, 2)),
)
def init(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to; made if it isn't there.")] = Path(),
    verbose: opt.Verbose = False,
) -> None:
    """Write a small folder to start from.

    It holds a manifest, a table and an image. Nothing is asked, and nothing is ever overwritten.
    """
    with answering("init", verbose=verbose) as answer:
        from crucible_batch.cli.starter import write_starter

        write_starter(answer, directory)


@commands.command(
    rich_help_panel=_PANEL,
    epilog=epilog(
        "crucible-batch sandbox --port 8080",
        "crucible-batch sandbox --faults 'generate.500-after=2,429:0.1'",
        "crucible-batch sandbox --pricing zimage-base.rise-after=10x16",
        codes=(0, 2),
    ),
)
def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the API; 0 takes a free one.")] = 0,
    storage_port: Annotated[int, typer.Option(min=0, max=65535, help="Of the storage; 0 takes a free one.")] = 0,
    state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Remember everything in this file, across restarts.")
    ] = None,
    credits: Annotated[
        Decimal, typer.Option(metavar="N", parser=read_credits, help="What the account starts with.")
    ] = Decimal(1000),
    upload_price: Annotated[
        Decimal, typer.Option(metavar="N", parser=read_credits, help="What an upload costs.")
    ] = Decimal("0.5"),
    runners: Annotated[int, typer.Option(metavar="N", min=1, help="Jobs that run at the same time.")] = 4,
    time_scale: Annotated[
        float, typer.Option(metavar="X", min=0, help="Multiplies how long jobs take; 0 ends them at once.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(metavar="N", help="Fixes ids, times and faults.")] = 0,
    faults: Annotated[
        str, typer.Option(metavar="TEXT", help="What goes wrong, such as 429:0.1,generate.drop-after=2.")
    ] = "",
    pricing: Annotated[
        str, typer.Option(metavar="TEXT", help="How prices move, such as zimage-base.size=512x512,rise-after=10x16.")
    ] = "",
    verbose: opt.Verbose = False,
) -> None:
    """Run a local gateway, to try things out for nothing.

    Ends with Ctrl-C. Prints the two variables that lead to it; paste them into another terminal.
    """
    with answering("sandbox", verbose=verbose) as answer:
        from crucible_batch.cli.starter import SandboxArguments, serve_sandbox

        wish = SandboxArguments(
            port, storage_port, state, credits, upload_price, runners, time_scale, seed, faults, pricing
        )
        serve_sandbox(answer, wish)


@commands.command(rich_help_panel=_PANEL, epilog=epilog("crucible-batch doctor", codes=(0, 3, 5)))
def doctor(
    api_base: opt.ApiBase = None, proxy: opt.Proxy = None, json: opt.AsJson = False, verbose: opt.Verbose = False
) -> None:
    """Check what a run needs: key, gateway, clock, disk, versions."""
    with answering("doctor", json=json, verbose=verbose) as answer:
        from crucible_batch.cli.doctor import examine

        examine(answer, api_base, proxy)
