"""The command ``notify test``: sends a test message to each channel and prints the results."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from crucible_batch.api import RunRequest, clean, send_test
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.terminal import say, working
from crucible_batch.errors import ExitCode
from crucible_batch.option_values import RunEvent
from crucible_batch.settings import Settings


def send_and_show(
    output: CommandOutput, request: RunRequest, settings: Settings, event: RunEvent, *, allow_command: bool
) -> None:
    """Send the message and show a line for each channel. Exit code 5 if it could not be sent to all of them."""
    request = replace(request, allow_command=allow_command)
    with working(output.err, "sending"):
        results = asyncio.run(send_test(request, settings, event))
    output.data = {
        "notifications": [
            {
                "event": result.event,
                "channel": result.channel,
                "source": result.source,
                "status": "sent" if result.is_sent else "failed",
                "attempts": result.attempts,
                "error": result.error,
            }
            for result in results
        ]
    }
    if not output.quiet:
        for result in results:
            mark = ("✓ ", "good") if result.is_sent else ("✗ ", "bad")
            say(output.out, mark, clean(f"{result.channel} {result.source}"), (f"  {result.error or 'sent'}", "quiet"))
        if not results:
            say(output.out, "The manifest has no notifications: add them under `notify`.")
    failed = sum(not result.is_sent for result in results)
    if failed:
        message = f"{failed} of {len(results)} messages could not be sent"
        output.blame("NOTIFICATION_FAILED", message, exit_code=ExitCode.STOPPED)
