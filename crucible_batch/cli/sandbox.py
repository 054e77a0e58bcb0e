"""The ``sandbox`` command: serves a local gateway, and judges its client."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence

from rich.text import Text

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.options import SandboxOptions
from crucible_batch.cli.terminal import open_console, say, say_indented
from crucible_batch.cli.verdict import show_verdict
from crucible_batch.errors import ExitCode, UserError
from crucible_batch.sandbox import (
    DEFAULT_KEY,
    SandboxConfig,
    Verdict,
    parse_faults,
    parse_pricing,
    run_client,
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
            budget=chosen.budget,
            wanted_once=chosen.once,
        )
    except ValueError as error:
        raise UserError(str(error), hint="crucible-batch sandbox --help") from error


def _reason(error: OSError) -> str:
    """Return the system's reason; asyncio appends the address to ``strerror``."""
    number = error.errno or 0
    if number > 0:
        return os.strerror(number)
    return error.strerror or str(error)


def _check_judge(chosen: SandboxOptions) -> None:
    if not chosen.judge and (chosen.once or chosen.budget is not None):
        raise UserError("--budget and --once are for the judge", hint="add --judge")
    if chosen.judge and chosen.state is not None:
        raise UserError(
            "--judge judges one session, and --state continues earlier ones",
            hint="remove --judge or --state",
        )


def run_sandbox(output: CommandOutput, chosen: SandboxOptions, client: Sequence[str]) -> None:
    """Serve until Ctrl-C or until the client ends, and judge if that is asked for."""
    _check_judge(chosen)
    verdict = _served(output, _config(chosen), client)
    if chosen.judge:
        show_verdict(output.err, verdict)
        if verdict.faults:
            output.exit_code = ExitCode.SOME_FAILED


def _served(output: CommandOutput, config: SandboxConfig, client: Sequence[str]) -> Verdict:
    if client:
        return _run_client(output, config, client)
    return _serve(output, config)


def _run_client(output: CommandOutput, config: SandboxConfig, client: Sequence[str]) -> Verdict:
    """Serve until the client ends, and take over its exit code."""
    if shutil.which(client[0]) is None:
        raise UserError(
            f"there is no program {client[0]!r}",
            hint="write the client's command after --, as you would in the shell",
        )
    try:
        served = run_client(config, client, os.environ)
    except OSError as error:
        raise _cannot_start(error) from error
    output.exit_code = served.exit_code
    if served.exit_code:
        say(output.err, f"the client ended with {served.exit_code}")
    return served.verdict


def _serve(output: CommandOutput, config: SandboxConfig) -> Verdict:
    """Serve until Ctrl-C.

    The two shell lines are flushed to stdout immediately for scripts that read them.
    """

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
        verdict = run_forever(config, ready)
    except OSError as error:
        raise _cannot_start(error) from error
    say(output.err, "stopped")
    return verdict


def _cannot_start(error: OSError) -> UserError:
    return UserError(
        f"the sandbox can't start: {_reason(error)}", hint="choose another --port or --state file"
    )
