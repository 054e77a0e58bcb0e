"""Lines for a crontab, or a file of ``/etc/cron.d``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo

from crucible_batch.cli.exported_files import ExportedFile, check_paths
from crucible_batch.errors import UserError
from crucible_batch.features.schedule.cron_fields import CronFields
from crucible_batch.features.schedule.export.target import (
    MARK,
    ExportOptions,
    fields_of,
    run_arguments,
)
from crucible_batch.features.schedule.schedules import ScheduledManifest

_MOST_CHARACTERS = 998
"""The longest command that Debian's cron accepts."""


def export_cron(
    schedules: Sequence[ScheduledManifest], options: ExportOptions
) -> list[ExportedFile]:
    """Return one file with a line for each schedule.

    With a user, it has the format of ``/etc/cron.d``. Raises ``UserError`` if cron would run one at
    other times: it knows only the time zone of the system.
    """
    lines = [
        MARK,
        "# cron mails what a command prints: with --quiet, a few lines if something is wrong.",
    ]
    user = f"{options.user} " if options.user else ""
    for schedule in schedules:
        fields = _fields(schedule, options)
        lines.append(f"{' '.join(fields.written)}  {user}{_command(schedule, options)}")
    text = "\n".join(lines) + "\n"
    if options.user:
        return [ExportedFile("crucible-batch", text, ("sudo cp crucible-batch /etc/cron.d/",))]
    return [
        ExportedFile(
            "crucible-batch.crontab",
            text,
            ("(crontab -l; cat crucible-batch.crontab) | crontab -",),
        )
    ]


def _fields(schedule: ScheduledManifest, options: ExportOptions) -> CronFields:
    """Return the fields of a schedule. Raises ``UserError`` if cron can't keep its time zone."""
    if not _is_same_time(schedule.zone, options.system_zone, since=options.now):
        raise UserError(
            f"{schedule.path}: the schedule is in {schedule.zone_name}, and cron runs it in the"
            f" time zone of this system, {options.system_zone}",
            hint="use --to systemd, which knows time zones",
        )
    return fields_of(schedule, "cron")


def _is_same_time(zone: tzinfo, other: tzinfo, *, since: datetime) -> bool:
    """Whether two time zones have the same time in each week of two years, summer and winter.

    Their names may differ.
    """
    moments = (since + timedelta(weeks=week) for week in range(104))
    return all(
        moment.astimezone(zone).utcoffset() == moment.astimezone(other).utcoffset()
        for moment in moments
    )


def _command(schedule: ScheduledManifest, options: ExportOptions) -> str:
    words = [*options.command, *run_arguments(schedule, options, schedule.path), "--quiet"]
    check_paths([str(options.directory), *words], "cron", refused="\\")
    command = f"cd {shlex.quote(str(options.directory))} && {shlex.join(words)}".replace("%", "\\%")
    if len(command) > _MOST_CHARACTERS:
        raise UserError(
            f"{schedule.path}: the command is longer than"
            f" the {_MOST_CHARACTERS} characters that cron accepts",
            hint="use shorter paths",
        )
    return command
