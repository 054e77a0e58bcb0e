"""The nights of a month in Europe/Berlin, by the rules of Debian's cron.

Shares no code with the scheduler.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

BERLIN = ZoneInfo("Europe/Berlin")
_DAY = timedelta(days=1)
_HALF_HOUR = timedelta(minutes=30)


def berlin(day: date, hour: int, minute: int = 0) -> datetime:
    """Return a local time in UTC. The first of two, where clocks are put back; right after the gap,
    where they skip it.

    >>> berlin(date(2026, 3, 29), 2, 30) == datetime(2026, 3, 29, 1, tzinfo=UTC)
    True
    >>> berlin(date(2026, 10, 25), 2, 30) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    True
    """
    local = datetime.combine(day, time(hour, minute), BERLIN)
    moment = local.astimezone(UTC)
    if moment.astimezone(BERLIN).replace(tzinfo=None) == local.replace(tzinfo=None):
        return moment
    # A time in the gap. Both readings of it lie around the gap's end, which is at a full hour in
    # Berlin.
    return local.replace(fold=1).astimezone(UTC).replace(minute=0) + timedelta(hours=1)


def at_fixed_time(hour: int, minute: int, begin: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the times of ``minute hour * * *`` from ``begin`` until before ``end``: one for each
    date.
    """
    day = begin.astimezone(BERLIN).date() - _DAY
    while (moment := berlin(day, hour, minute)) < end:
        if moment >= begin:
            yield moment
        day += _DAY


def each_half_hour(hour: int, begin: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the times of ``*/30 hour * * *``, by real time: none in a skipped hour, all of a
    repeated one.
    """
    moment = begin.replace(minute=0, second=0, microsecond=0)
    while moment < end:
        if moment >= begin and moment.astimezone(BERLIN).hour == hour:
            yield moment
        moment += _HALF_HOUR


def month(moment: datetime) -> str:
    """Return the month in Berlin, such as 2026-03."""
    return f"{moment.astimezone(BERLIN):%Y-%m}"
