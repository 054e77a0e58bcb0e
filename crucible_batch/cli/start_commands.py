"""The commands for getting started: ``demo``, ``init``, ``sandbox``, ``doctor``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.core.run_options import ManifestOptions

commands = typer.Typer()
command = partial(opt.command, commands, "Start")


@command("crucible-batch demo")
def demo(
    output: CommandOutput,
    *,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out-dir",
            metavar="DIR",
            help="Run directory; a number is added if it exists.  "
            "\\[default: outputs/demo/default]",
            show_default=False,
        ),
    ] = None,
    open_: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open",
            help="Open the comparison grid in a browser.  "
            "\\[default: only on a terminal with a display]",
            show_default=False,
        ),
    ] = None,
    display: opt.Display = opt.DisplayMode.AUTO,
    features: opt.DemoFeatures,
) -> None:
    """Create thirty images on a local gateway in a few seconds, and open them as a grid.

    The last lines compare the report with the gateway's ledger. Needs no
    account, no API key and no network.
    """
    from crucible_batch.cli.demo import run_demo

    run_demo(output, out_dir=out_dir, display=display, open_page=open_, features=features)


@command("crucible-batch init my-batch", output="verbose")
def init(
    output: CommandOutput,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Target directory; created if it does not exist.")
    ] = Path(),
) -> None:
    """Create a starter folder, with a manifest, a table and an image.

    Existing files are never overwritten.
    """
    from crucible_batch.cli.starter import write_starter

    write_starter(output, directory)


@command(
    "crucible-batch sandbox --port 8080",
    "crucible-batch sandbox --faults 'generate.500-after=2,429:0.1'",
    "crucible-batch sandbox --pricing zimage-base.rise-after=10x16",
    "crucible-batch sandbox --judge --budget 20 -- python my_client.py",
    output="verbose",
)
def sandbox(
    output: CommandOutput,
    client: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND",
            help="Run this client on the gateway, and stop when it ends.",
            show_default=False,
        ),
    ] = None,
    *,
    chosen: opt.SandboxOptions,
) -> None:
    """Run a local gateway, for tests that cost nothing.

    Prints the two environment variables that select it; paste them into
    another terminal. Ctrl-C stops it. A COMMAND has them in its environment;
    the exit code is that of COMMAND.
    """
    from crucible_batch.cli.sandbox import run_sandbox

    run_sandbox(output, chosen, client or ())


@command("crucible-batch doctor", "crucible-batch doctor nightly.yaml", output="json verbose")
def doctor(
    output: CommandOutput,
    manifest: Annotated[
        Path | None,
        typer.Argument(
            metavar="MANIFEST",
            help="Also try the notifications of this manifest.",
            show_default=False,
        ),
    ] = None,
    *,
    var: opt.Var = None,
    options: ManifestOptions,
    gateway: opt.GatewayOptions,
    allow_command: opt.AllowCommand = False,
) -> None:
    """Check the prerequisites of a run: API key, gateway, clock, disk, versions.

    With MANIFEST, a test message is sent to each channel under notify,
    whatever its events. It is marked as a test, but a heartbeat counts it as
    a real ping.
    """
    from crucible_batch.cli.doctor import examine
    from crucible_batch.cli.requests import manifest_request

    request = manifest_request(manifest, var, options) if manifest else None
    examine(output, gateway.settings(), request and replace(request, allow_command=allow_command))
