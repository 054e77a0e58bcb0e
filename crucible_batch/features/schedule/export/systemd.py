"""A service and a timer of systemd for each schedule."""

from __future__ import annotations

from collections.abc import Sequence

from crucible_batch.cli.exported_files import ExportedFile, check_paths
from crucible_batch.features.schedule.cron_fields import CronFields, DayRule, spans
from crucible_batch.features.schedule.export.target import (
    MARK,
    TIME_TO_STOP_S,
    ExportOptions,
    fields_of,
    run_arguments,
    shortest_interval,
)
from crucible_batch.features.schedule.schedules import ScheduledManifest

_STARTS = 3
_RETRY_AFTER_S = 600
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

_SERVICE = """\
{mark}
[Unit]
Description=crucible-batch run of {name}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec={limit_s}
StartLimitBurst={starts}

[Service]
Type=oneshot
{user}WorkingDirectory={directory}
ExecStart={command}
TimeoutStartSec={timeout_s}
TimeoutStopSec=120
KillMode=mixed
SuccessExitStatus=143
Restart=on-abnormal
RestartForceExitStatus=5
RestartSec={retry_s}
NoNewPrivileges=true
"""
_TIMER = """\
{mark}
[Unit]
Description=Schedule of the crucible-batch run of {name}

[Timer]
{times}
AccuracySec=1s
Persistent={persistent}

[Install]
WantedBy=timers.target
"""


def export_systemd(
    schedules: Sequence[ScheduledManifest], options: ExportOptions
) -> list[ExportedFile]:
    """Return two units for each schedule.

    A service never overlaps itself, since its timer does not start what is running. It is started
    again after exit code 5 and after a crash, at most twice before its next time. Raises
    ``UserError`` as ``fields_of`` does.
    """
    return [file for schedule in schedules for file in _units(schedule, options)]


def _units(schedule: ScheduledManifest, options: ExportOptions) -> list[ExportedFile]:
    fields = fields_of(schedule, "systemd")
    words = [
        *options.command,
        *run_arguments(schedule, options, schedule.path),
        "--log-format",
        "text",
    ]
    directory = str(options.directory)
    check_paths([directory, *words], "systemd")
    # It would be removed, or continue the line.
    check_paths([directory[-1:]], "systemd", refused=" \\")
    deadline_s = int(options.deadline_of(schedule))
    unit = f"crucible-batch-{schedule.name}"
    limit_s = min(
        shortest_interval(schedule, options.now) - 30,
        _STARTS * (deadline_s + TIME_TO_STOP_S + _RETRY_AFTER_S),
    )
    service = _SERVICE.format(
        mark=MARK,
        name=schedule.name,
        limit_s=limit_s,
        starts=_STARTS,
        user=f"User={options.user}\n" if options.user else "",
        directory=directory.replace("%", "%%"),
        command=" ".join(map(_quoted, words)),
        timeout_s=deadline_s + TIME_TO_STOP_S,
        retry_s=_RETRY_AFTER_S,
    )
    timer = _TIMER.format(
        mark=MARK,
        name=schedule.name,
        times="\n".join(f"OnCalendar={each}" for each in on_calendar(fields, schedule.zone_name)),
        persistent="true" if schedule.catch_up else "false",
    )
    return [
        ExportedFile(
            f"{unit}.service",
            service,
            (f"sudo cp {unit}.service {unit}.timer /etc/systemd/system/",),
        ),
        ExportedFile(
            f"{unit}.timer",
            timer,
            ("sudo systemctl daemon-reload", f"sudo systemctl enable --now {unit}.timer"),
        ),
    ]


def _quoted(word: str) -> str:
    """Quote a word of a command line for systemd, which expands ``%`` and ``$``.

    The rules are those of systemd.service(5).
    """
    if word and all(each.isalnum() or each in "-_./:=,+@" for each in word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def on_calendar(fields: CronFields, zone_name: str) -> tuple[str, ...]:
    """Return a schedule as calendar expressions (systemd.time(7)), each of which adds its times.

    Two if a day or a weekday may match.
    """
    months = _list(fields.months, 12)
    hours, minutes = _list(fields.hours, 24), _list(fields.minutes, 60)
    return tuple(
        f"{_date(rule, months)} {hours}:{minutes}:00 {zone_name}" for rule in fields.day_rules
    )


def _date(rule: DayRule, months: str) -> str:
    days = "*" if rule.days is None else _list(rule.days, 31)
    date = f"*-{months}-{days}"
    if rule.weekdays is None:
        return date
    return f"{_weekdays(rule.weekdays)} {date}"


def _list(values: frozenset[int], count: int) -> str:
    if len(values) == count:
        return "*"
    return ",".join(
        "..".join(f"{int(end):02}" for end in span.split("..")) for span in spans(values, "..")
    )


def _weekdays(weekdays: frozenset[int]) -> str:
    positions = ((weekday - 1) % 7 for weekday in weekdays)  # systemd's weeks begin on Monday
    return ",".join(
        "..".join(_DAYS[int(end)] for end in span.split("..")) for span in spans(positions, "..")
    )
