"""Lines for a crontab, or a file of ``/etc/cron.d``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from crucible_batch.errors import UserError
from crucible_batch.scheduling.clock_changes import have_same_clock
from crucible_batch.scheduling.cron_fields import CronFields
from crucible_batch.scheduling.export.target import (
    MARK,
    ExportedFile,
    ExportOptions,
    check_paths,
    fields_of,
    run_arguments,
    times_of,
)
from crucible_batch.scheduling.schedules import ScheduledManifest

_MOST_CHARACTERS = 998
"""The longest command that Debian's cron accepts."""


def export_cron(schedules: Sequence[ScheduledManifest], options: ExportOptions) -> list[ExportedFile]:
    """Return one file with a line for each schedule. With a user, it has the format of ``/etc/cron.d``.

    Raises ``UserError`` if cron would run one at other times: it knows only the time zone of the system, except for
    cronie, which reads ``CRON_TZ``.
    """
    lines = [MARK, "# cron mails what a command prints: with --quiet, a few lines if something is wrong."]
    zone_name = ""
    for schedule in sorted(schedules, key=lambda each: each.zone_name):
        fields, zone = _fields(schedule, options)
        if zone not in ("", zone_name):
            lines.append(f"CRON_TZ={zone}")
            zone_name = zone
        user = f"{options.user} " if options.user else ""
        lines.append(f"{' '.join(fields.written)}  {user}{_command(schedule, options)}")
    text = "\n".join(lines) + "\n"
    if options.user:
        return [ExportedFile("crucible-batch", text, ("sudo cp crucible-batch /etc/cron.d/",))]
    return [ExportedFile("crucible-batch.crontab", text, ("(crontab -l; cat crucible-batch.crontab) | crontab -",))]


def _fields(schedule: ScheduledManifest, options: ExportOptions) -> tuple[CronFields, str]:
    """Return the fields, and the value for ``CRON_TZ``, empty without one."""
    if options.is_cronie:
        times = times_of(schedule, options, "cron")
        return times.fields, times.zone_name
    if have_same_clock(schedule.zone, options.system_zone, options.now):
        return fields_of(schedule, "cron"), ""
    times = times_of(schedule, options, "cron")
    if times.zone_name == "UTC":  # at the same minutes everywhere
        return times.fields, ""
    raise UserError(
        f"{schedule.path}: the schedule is in {schedule.zone_name}, and cron runs it in the time zone of this system,"
        f" {options.system_zone}",
        hint="use --to systemd; or --cronie, if your cron is cronie (Fedora, Arch)",
    )


def _command(schedule: ScheduledManifest, options: ExportOptions) -> str:
    words = [*options.command, *run_arguments(schedule, options, schedule.path), "--quiet"]
    check_paths([str(options.directory), *words], "cron", refused="\\")
    command = f"cd {shlex.quote(str(options.directory))} && {shlex.join(words)}".replace("%", "\\%")
    if len(command) > _MOST_CHARACTERS:
        raise UserError(
            f"{schedule.path}: the command is longer than the {_MOST_CHARACTERS} characters that cron accepts",
            hint="use shorter paths",
        )
    return command
