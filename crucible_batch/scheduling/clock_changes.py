"""Changes of a time zone's clock, and the schedules whose times they concern."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from crucible_batch.scheduling.cron_fields import CronFields

YEARS = 28
"""The calendar repeats after so many years, except in 2100."""
_DAY, _MINUTE, _HOUR = timedelta(days=1), timedelta(minutes=1), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ClockChange:
    """A change at ``at`` (UTC) to another offset: a smaller one repeats local times, a larger one skips some."""

    at: datetime
    before: timedelta
    after: timedelta

    def local_minutes(self) -> Iterator[datetime]:
        """Yield the local times, without a zone, that are skipped or occur twice."""
        local = self.at.replace(tzinfo=None)
        minute, end = local + min(self.before, self.after), local + max(self.before, self.after)
        while minute < end:
            yield minute
            minute += _MINUTE


def clock_changes(zone: tzinfo, begin: datetime) -> Iterator[ClockChange]:
    """Yield the changes in the ``YEARS`` years after ``begin``, to the minute, in order."""
    start = begin.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    before = _offset(zone, start)
    for _ in range(YEARS * 366):
        end = start + _DAY
        after = _offset(zone, end)
        if after != before:
            yield ClockChange(_moment(zone, start, end), before, after)
        start, before = end, after


def first_affected(fields: CronFields, zone: tzinfo, begin: datetime) -> datetime | None:
    """Return the first local time of a schedule that a clock change skips or repeats; None if there is none.

    If there is none, every scheduler that knows the time zone runs it at the same times.
    """
    for change in clock_changes(zone, begin):
        for minute in change.local_minutes():
            if fields.matches(minute):
                return minute
    return None


def is_same_in_utc(fields: CronFields, zone: tzinfo, begin: datetime) -> bool:
    """Return whether a schedule has the same times in UTC: every hour, in a zone whose offsets are full hours."""
    if not (fields.follows_real_time and fields.is_every_day and fields.is_every_hour):
        return False
    offsets = {_offset(zone, begin)} | {change.after for change in clock_changes(zone, begin)}
    return fields.is_every_minute or not any(offset % _HOUR for offset in offsets)


def have_same_clock(one: tzinfo, other: tzinfo, begin: datetime) -> bool:
    """Return whether two zones show the same local time from ``begin`` on."""
    return _offset(one, begin) == _offset(other, begin) and list(clock_changes(one, begin)) == list(
        clock_changes(other, begin)
    )


def _moment(zone: tzinfo, start: datetime, end: datetime) -> datetime:
    """Return the first minute in ``(start, end]`` with the offset of ``end``."""
    after = _offset(zone, end)
    low, high = 0, int((end - start) / _MINUTE)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, start + middle * _MINUTE) == after:
            high = middle
        else:
            low = middle
    return start + high * _MINUTE


def _offset(zone: tzinfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()
