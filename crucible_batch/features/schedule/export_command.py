"""The ``schedule export`` command: prints or writes the files for another scheduler."""

from __future__ import annotations

import getpass
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.exported_files import ExportedFile, write_files
from crucible_batch.cli.terminal import Json, say, say_note
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.errors import UserError
from crucible_batch.features.schedule.export.github_actions import repository_of, wheel_command
from crucible_batch.features.schedule.export.target import MARK, ExportOptions, own_command
from crucible_batch.features.schedule.export.writing import export
from crucible_batch.features.schedule.options import ExportChoices
from crucible_batch.features.schedule.schedules import FoundSchedules, find_schedules
from crucible_batch.runs.scheduled_time_source import checked_clock
from crucible_batch.scheduled_time import read_timezone

_ZONES = "/zoneinfo/"


def export_and_show(
    output: CommandOutput,
    places: Sequence[Path],
    to: str,
    chosen: ExportChoices,
    *,
    folder: Path | None,
    force: bool,
) -> None:
    """Print the files, or write them into a folder.

    Nothing is written if any of them can't be made.
    """
    found = find_schedules(places)
    _check(found)
    env_file = chosen.env_file
    if env_file is not None:
        env_file = Path(os.path.abspath(env_file))  # noqa: PTH100 - links stay
    user = chosen.user
    if not user and to == "systemd":
        user = getpass.getuser()
    options = ExportOptions(
        directory=Path.cwd(),
        command=own_command(),
        now=checked_clock(datetime.now(UTC)),
        system_zone=system_zone(),
        env_file=env_file,
        deadline_s=chosen.deadline,
        user=user or None,
        image=chosen.image,
        folder=None if folder is None else folder.absolute(),
        allow_command=chosen.allow_command,
    )
    files = export(found.schedules, to, options)
    paths: Sequence[Path | None] = [None] * len(files)
    if folder is not None:
        paths = write_files(files, folder, [MARK], force=force)
    shown = zip(files, paths, strict=True)
    output.data = {"to": to, "files": [_as_json(file, path) for file, path in shown]}
    _print(output, files, paths)
    if not output.quiet:
        _show_next_steps(output, files, _notes(found, options, to), folder)


def _as_json(file: ExportedFile, path: Path | None) -> Json:
    written = None if path is None else str(path)
    return {"name": file.name, "path": written, "text": file.text, "install": list(file.steps)}


def _show_next_steps(
    output: CommandOutput, files: Sequence[ExportedFile], notes: Iterable[str], folder: Path | None
) -> None:
    for note in dict.fromkeys(notes):
        say_note(output.err, note)
    if folder is None:
        say_note(output.err, "-o DIR writes the files, and shows the commands that install them")
        return
    say(output.err, ("install  ", "label"), (f"cd {shlex.quote(str(folder))}", "command"))
    for step in dict.fromkeys(step for file in files for step in file.steps):
        say(output.err, ("install  ", "label"), (step, "command"))


def _print(
    output: CommandOutput, files: Sequence[ExportedFile], paths: Sequence[Path | None]
) -> None:
    for file, path in zip(files, paths, strict=True):
        if path is not None:
            say(output.out, ("✓ ", "good"), clean_path(path))
        elif not output.json:
            if len(files) > 1:
                print(f"# --- {file.name}")  # noqa: T201 - a file is printed as it is
            print(file.text, end="", flush=True)  # noqa: T201


def _check(found: FoundSchedules) -> None:
    for error in found.invalid.values():
        raise error
    for path in found.unscheduled:
        if path in found.named:
            raise UserError(
                f"{path} has no schedule",
                hint='add schedule: {cron: "15 3 * * *", timezone: Europe/Berlin}',
            )
    if not found.schedules:
        raise UserError(
            "no manifest with a schedule was found", hint="name a manifest that has `schedule:`"
        )


def _notes(found: FoundSchedules, options: ExportOptions, to: str) -> Iterator[str]:
    for schedule in found.schedules:
        if not schedule.is_dated:
            path = clean(str(schedule.path), 300)
            yield (
                f'{path} has no run_id such as "{{{{ date }}}}":'
                " each time resumes the same run and buys nothing new"
            )
        if to == "github-actions":
            command = clean(wheel_command(repository_of(schedule.path.resolve())), 400)
            yield f"commit the program as well, from a clone of crucible-batch: {command}"
        if to == "github-actions" and schedule.account is not None:
            account = clean(schedule.account, 100)
            yield (
                f"workflows do not share the budget account {account}:"
                " each counts only its own spending"
            )
    if to in ("cron", "systemd"):
        file = options.env_file or options.directory / ".env"
        if not file.is_file():
            yield f"there is no {clean(str(file), 300)}; the runs read MOLTAZINE_API_KEY from it"
        elif file.stat().st_mode & 0o077:
            command = f"chmod 600 {shlex.quote(str(file))}"
            yield f"other users may read {clean(str(file), 300)}: {command}"


def system_zone() -> tzinfo:
    """Return the time zone of this system, from ``TZ`` or ``/etc/localtime``; otherwise UTC."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if not name:
        _, _, name = os.path.realpath("/etc/localtime").partition(_ZONES)
    try:
        return read_timezone(name or "UTC")
    except ValueError:
        return read_timezone("UTC")
