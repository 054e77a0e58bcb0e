"""The ``schedule list`` command: the next times of manifests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.cells import cell_len

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.render.errors import problem_json, show_error
from crucible_batch.cli.terminal import Json, say, say_note
from crucible_batch.cli.units import format_duration
from crucible_batch.core.redaction import clean, clean_path
from crucible_batch.errors import ExitCode, ManifestError
from crucible_batch.features.schedule.schedules import (
    FoundSchedules,
    ScheduledManifest,
    find_schedules,
    next_times,
)

_LONGEST_PATH = 300


def show_times(output: CommandOutput, places: Sequence[Path], *, count: int) -> None:
    """Show the next ``count`` times. Exit code 2 if a manifest that was named is invalid."""
    now = datetime.now(UTC)
    found = find_schedules(places)
    times = next_times(found.schedules, now, count)
    output.data = {
        "times": [_time_json(moment, schedule, now) for moment, schedule in times],
        "unscheduled": [str(path) for path in found.unscheduled],
        "invalid": [
            {
                "manifest": str(path),
                "problems": [problem_json(problem) for problem in error.problems],
            }
            for path, error in found.invalid.items()
        ],
    }
    if times:
        _print_times(output, times, now)
    _print_rest(output, found)
    if found.named_invalid:
        message = f"{len(found.named_invalid)} of {len(found.named)} manifests can't be read"
        output.blame(ManifestError.code, message, exit_code=ExitCode.USER_ERROR)


def _time_json(moment: datetime, schedule: ScheduledManifest, now: datetime) -> dict[str, Json]:
    return {
        "scheduled_at": moment.astimezone(schedule.zone).isoformat(timespec="seconds"),
        "in_s": int((moment - now).total_seconds()),
        "manifest": str(schedule.path),
        "name": schedule.name,
        "cron": schedule.cron,
        "timezone": schedule.zone_name,
        "catch_up": schedule.catch_up,
    }


def _print_times(
    output: CommandOutput, times: Sequence[tuple[datetime, ScheduledManifest]], now: datetime
) -> None:
    rows = [
        (
            _local(moment, schedule),
            format_duration((moment - now).total_seconds(), whole=True),
            clean_path(schedule.path),
            schedule,
        )
        for moment, schedule in times
    ]
    width = max(cell_len(length) for _, length, _, _ in rows)
    for local, length, path, schedule in rows:
        note = clean(f"{schedule.cron} {schedule.zone_name}", _LONGEST_PATH)
        say(
            output.out,
            (local, "strong"),
            f"   in {length:<{width}}   ",
            path,
            (f"   {note}", "quiet"),
        )


def _local(moment: datetime, schedule: ScheduledManifest) -> str:
    local = moment.astimezone(schedule.zone)
    offset = f"{local:%z}"
    return f"{local:%a %Y-%m-%d %H:%M} {offset[:3]}:{offset[3:5]}"


def _print_rest(output: CommandOutput, found: FoundSchedules) -> None:
    for path, error in found.invalid.items():
        if path not in found.named:
            say_note(output.err, f"{clean_path(path)} is left out, since it is invalid:")
        show_error(output.err, error)
    for path in found.unscheduled:
        if path in found.named:
            say_note(output.err, f"{clean_path(path)} has no schedule")
    if found.schedules or found.invalid:
        return
    without = len(found.unscheduled)
    text = "no manifest with a schedule was found"
    if without:
        text += f"; {without} manifest{' has' if without == 1 else 's have'} no schedule"
    say(output.out, text)
    say(
        output.out,
        ("  add one  ", "label"),
        ('schedule: {cron: "15 3 * * *", timezone: Europe/Berlin}', "command"),
    )
