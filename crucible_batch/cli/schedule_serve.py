"""The ``schedule serve`` command: a scheduler in the foreground, and what it prints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.schedule_options import ServeChoices
from crucible_batch.cli.terminal import say
from crucible_batch.domain.redaction import clean
from crucible_batch.errors import UserError
from crucible_batch.scheduling.export.target import deadline_text
from crucible_batch.scheduling.serve.scheduler import ServeMessage
from crucible_batch.scheduling.serve.serving import ServeOptions, serve_schedules
from crucible_batch.settings import state_directory

_LONGEST_LINE = 4000


def serve_and_show(result: CommandOutput, places: Sequence[Path], chosen: ServeChoices) -> None:
    """Serve until a signal. With ``--json``, each start, end and skip is a line; what runs print goes to stderr."""
    options = _options(places, chosen)

    def report(message: ServeMessage) -> None:
        result.event(message.kind, **message.fields)
        if not result.quiet:
            at = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}  "
            style = "warn" if message.kind in ("scheduled_skip", "scheduler_note") else "strong"
            say(result.err, (at, "quiet"), (clean(message.text, _LONGEST_LINE), style))

    def output(name: str, line: str) -> None:
        if not result.quiet:
            say(result.err, (f"{name} | ", "label"), clean(line, _LONGEST_LINE))

    def ready(url: str | None) -> None:
        names = [str(place) for place in places]
        result.data = {"places": list(names), "health": url}
        result.event("serving", places=list(names), health=url)
        if not result.quiet:
            say(result.out, ("✓ ", "good"), clean(f"serving {', '.join(names)}", _LONGEST_LINE))
            if url is not None:
                say(result.out, ("  health  ", "label"), (url, "command"))
            result.out.file.flush()

    serve_schedules(options, report, output, ready)
    if not result.quiet:
        say(result.err, "stopped; the next start resumes unfinished runs")


def _options(places: Sequence[Path], chosen: ServeChoices) -> ServeOptions:
    """Return the options of the scheduler. Raises ``UserError`` if a file or folder does not exist."""
    for place in places:
        if not place.exists():
            raise UserError(f"there is no file or folder {place}", hint="name a folder of manifests")
    arguments: list[str] = []
    if chosen.env_file is not None:
        if not chosen.env_file.is_file():
            raise UserError(f"there is no file {chosen.env_file}", hint="name the file with the API key")
        arguments += ["--env-file", os.path.abspath(chosen.env_file)]  # noqa: PTH100 - links are kept
    if chosen.deadline is not None:
        arguments += ["--deadline", deadline_text(chosen.deadline)]
    return ServeOptions(
        places=tuple(places),
        directory=Path.cwd(),
        most_running=chosen.most_running,
        arguments=tuple(arguments),
        health=chosen.health,
        state_directory=state_directory(os.environ),
    )
