"""The ``view`` command: serves run directories as live pages."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from crucible_batch.api import clean
from crucible_batch.cli.answer import CommandOutput
from crucible_batch.cli.terminal import say
from crucible_batch.errors import UserError
from crucible_batch.shell_command import DEFAULT_DIRECTORY
from crucible_batch.view import find_runs, run_viewer


def serve_view(answer: CommandOutput, directory: Path, port: int, *, open_browser: bool) -> None:
    """Serve until Ctrl-C. The address is flushed to stdout at once. ``outputs/`` need not exist yet."""
    if not directory.is_dir() and (directory != DEFAULT_DIRECTORY or directory.exists()):
        raise UserError(
            f"there is no directory {directory}", hint="choose a directory that contains runs, or start a run first"
        )
    runs = find_runs(directory.resolve())
    own = next((key for key, path in runs.items() if path == directory.resolve()), None)
    count = len(runs)

    def ready(home: str) -> None:
        url = home if own is None else f"{home}runs/{own}/"
        answer.data = {"url": url, "directory": str(directory), "runs": count}
        answer.event("serving", url=url, directory=str(directory), runs=count)
        if not answer.quiet:
            _tell(answer, url, directory, count)
        if open_browser and not webbrowser.open(url):
            say(answer.err, ("note  ", "label"), "no browser could be opened; open the address manually")

    run_viewer(directory, port, ready)
    if not answer.quiet:
        say(answer.err, "stopped; runs continue")


def _tell(answer: CommandOutput, url: str, directory: Path, count: int) -> None:
    found = "no run yet" if not count else f"{count:,} run{'s' if count != 1 else ''}"
    say(
        answer.out,
        ("✓ ", "good"),
        (url, "command"),
        (f"   {found} in {clean(str(directory), 4000)}", "quiet"),
    )
    answer.out.file.flush()
    say(answer.err, "  Open it in a browser on this machine. Ctrl-C stops the page; runs continue.")
