"""Cron expressions as systemd's calendar expressions (``OnCalendar=``, systemd.time(7))."""

from __future__ import annotations

from crucible_batch.scheduling.cron_fields import CronFields, DayRule, spans

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def on_calendar(fields: CronFields, zone_name: str) -> tuple[str, ...]:
    """Return the calendar expressions, of which each adds its times: two if a day or a weekday may match."""
    months = _list(fields.months, 12)
    hours = "*" if fields.is_every_hour else _list(fields.hours, 24)
    minutes = "*" if fields.is_every_minute else _list(fields.minutes, 60)
    return tuple(f"{_date(rule, months)} {hours}:{minutes}:00 {zone_name}" for rule in fields.day_rules)


def _date(rule: DayRule, months: str) -> str:
    days = "*" if rule.days is None else _list(rule.days, 31)
    date = f"*-{months}-{days}"
    return date if rule.weekdays is None else f"{_weekdays(rule.weekdays)} {date}"


def _list(values: frozenset[int], count: int) -> str:
    if len(values) == count and count in (12, 31):
        return "*"
    return ",".join("..".join(f"{int(end):02}" for end in span.split("..")) for span in spans(values, ".."))


def _weekdays(weekdays: frozenset[int]) -> str:
    positions = ((weekday - 1) % 7 for weekday in weekdays)  # systemd's weeks begin on Monday
    return ",".join("..".join(_DAYS[int(end)] for end in span.split("..")) for span in spans(positions, ".."))
