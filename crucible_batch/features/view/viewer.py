"""The ``view`` command: serves run directories as live pages."""

from __future__ import annotations

import secrets
import webbrowser
from pathlib import Path

from rich.text import Text

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.terminal import say, say_indented, say_note
from crucible_batch.cli.units import counted
from crucible_batch.core.redaction import clean_path
from crucible_batch.errors import UserError
from crucible_batch.features.view.app import run_viewer
from crucible_batch.features.view.runs import find_runs
from crucible_batch.shell_command import DEFAULT_DIRECTORY


def serve_view(
    output: CommandOutput, directory: Path, port: int, *, open_browser: bool, is_controlled: bool
) -> None:
    """Serve until Ctrl-C.

    The address is flushed to stdout immediately. ``outputs/`` need not exist yet.
    """
    may_be_missing = directory == DEFAULT_DIRECTORY and not directory.exists()
    if not directory.is_dir() and not may_be_missing:
        raise UserError(
            f"there is no directory {directory}",
            hint="choose a directory that contains runs, or start a run first",
        )
    runs = find_runs(directory.resolve())
    own = next((key for key, path in runs.items() if path == directory.resolve()), None)
    count = len(runs)
    token = None
    if is_controlled:
        token = secrets.token_urlsafe(32)

    def ready(home: str) -> None:
        url = home
        if own is not None:
            url = f"{home}runs/{own}/"
        output.data = {"url": url, "directory": str(directory), "runs": count}
        output.event("serving", url=url, directory=str(directory), runs=count)
        if not output.quiet:
            _show_address(output, url, directory, count, is_controlled=token is not None)
        if token is not None:
            _show_token(output, url, token)
        if open_browser and not webbrowser.open(url):
            say_note(output.err, "no browser could be opened; open the address manually")

    run_viewer(directory, port, ready, token=token)
    if not output.quiet:
        say(output.err, "stopped; runs continue")


def _show_token(output: CommandOutput, url: str, token: str) -> None:
    """Show the address with the token of this session.

    It is not given to ``webbrowser``: other users of this machine can see the arguments of its
    process.
    """
    output.event("control", url=f"{url}#control={token}", token=token)
    say(
        output.err,
        "  Open this address to save marks and control runs; it is for you alone:",
    )
    say(output.err, "  ", (f"{url}#control={token}", "command"))
    output.err.file.flush()


def _show_address(
    output: CommandOutput, url: str, directory: Path, count: int, *, is_controlled: bool
) -> None:
    found = "no run yet"
    if count:
        found = counted(count, "run")
    say(
        output.out,
        ("✓ ", "good"),
        (url, "command"),
        (f"   {found} in {clean_path(directory)}", "quiet"),
    )
    output.out.file.flush()
    use = "Open it in a browser on this machine."
    if is_controlled:
        use = "This address only shows the runs."
    say_indented(output.err, Text("  "), f"{use} Ctrl-C stops the page; runs continue.")
