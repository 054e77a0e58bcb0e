"""The commands below ``notify``: ``test``."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from crucible_batch.cli import options as opt
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.help_text import PlainGroup
from crucible_batch.option_values import RunEvent

commands = typer.Typer(cls=PlainGroup, no_args_is_help=True, help="Check the notifications of a manifest.")
command = partial(opt.command, commands, "Notifications")


@command(
    "crucible-batch notify test nightly.yaml",
    "crucible-batch notify test nightly.yaml --event failure",
    codes=(0, 2, 5),
    name="notify test",
)
def send_test_message(
    output: CommandOutput,
    manifest: opt.ManifestOrPlan,
    *,
    event: Annotated[RunEvent, typer.Option("--event", help="The event that the message is about.")] = RunEvent.SUCCESS,
    reading: opt.ManifestOptions,
    gateway: opt.GatewayOptions,
    allow_command: opt.AllowCommand = False,
) -> None:
    """Send a test message to each channel of a manifest, whatever its events.

    Needs neither a gateway nor an API key. The message is marked as a test,
    but a heartbeat counts it as a real ping.
    """
    from crucible_batch.cli.notify_test import send_and_show
    from crucible_batch.cli.requests import manifest_request

    send_and_show(output, manifest_request(manifest, reading), gateway.settings(), event, allow_command=allow_command)
