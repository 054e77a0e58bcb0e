"""The ``sandbox`` command: serves a local gateway."""

from __future__ import annotations

import os
import shlex

from rich.text import Text

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.options import SandboxOptions
from crucible_batch.cli.terminal import open_console, say, say_indented
from crucible_batch.errors import UserError
from crucible_batch.sandbox import (
    DEFAULT_KEY,
    SandboxConfig,
    parse_faults,
    parse_pricing,
    run_forever,
)


def _config(chosen: SandboxOptions) -> SandboxConfig:
    """Return the sandbox's configuration. Raises ``UserError`` for invalid options."""
    try:
        return SandboxConfig(
            api_port=chosen.port,
            storage_port=chosen.storage_port,
            state=chosen.state,
            seed=chosen.seed,
            accounts={DEFAULT_KEY: chosen.credits},
            upload_price=chosen.upload_price,
            runners=chosen.runners,
            time_scale=chosen.time_scale,
            faults=parse_faults(chosen.faults),
            pricing=parse_pricing(chosen.pricing),
        )
    except ValueError as error:
        raise UserError(str(error), hint="crucible-batch sandbox --help") from error


def _reason(error: OSError) -> str:
    """Return the system's reason; asyncio appends the address to ``strerror``."""
    number = error.errno or 0
    if number > 0:
        return os.strerror(number)
    return error.strerror or str(error)


def serve_sandbox(output: CommandOutput, chosen: SandboxOptions) -> None:
    """Serve until Ctrl-C.

    The two shell lines are flushed to stdout immediately for scripts that read them.
    """
    config = _config(chosen)

    def ready(api_url: str, storage_url: str, key: str) -> None:
        console = open_console()
        say(console, f"export MOLTAZINE_API_KEY={shlex.quote(key)}")
        say(console, f"export CRUCIBLE_API_BASE={shlex.quote(api_url)}")
        console.file.flush()
        say(
            output.err,
            ("✓ ", "good"),
            ("a local gateway is running", "strong"),
            (f"   storage {storage_url}", "quiet"),
        )
        usage = (
            "Paste the two lines above into another terminal, then run any manifest."
            " Ctrl-C stops it."
        )
        say_indented(output.err, Text("  "), usage)

    try:
        run_forever(config, ready)
    except OSError as error:
        raise UserError(
            f"the sandbox can't start: {_reason(error)}",
            hint="choose another --port or --state file",
        ) from error
    say(output.err, "stopped")
