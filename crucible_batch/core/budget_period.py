"""Days, ISO weeks and months of a time zone, as the periods of a budget."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal

Per = Literal["day", "week", "month"]
_NOW = {"day": "today", "week": "this week", "month": "this month"}


@dataclass(frozen=True, slots=True)
class BudgetPeriod:
    """One period, from ``start`` up to ``end`` (not included), in seconds since the epoch.

    ``first`` is its first local date, such as 2026-11-26: the key under which it is stored, in the
    order of time.
    """

    per: Per
    first: str
    start: float
    end: float

    @property
    def words(self) -> str:
        """``today``, ``this week`` or ``this month``."""
        return _NOW[self.per]


@dataclass(frozen=True, slots=True)
class Calendar:
    """The periods of one length in one time zone.

    A day begins at the first instant of its local date.
    """

    per: Per
    zone: tzinfo

    def at(self, moment: float) -> BudgetPeriod:
        """Return the period that contains a moment, in seconds since the epoch."""
        # Clocks change at full seconds; a fraction could be rounded up into the next period.
        first = _first_day(self.per, datetime.fromtimestamp(math.floor(moment), self.zone).date())
        return BudgetPeriod(
            self.per,
            first.isoformat(),
            self._midnight(first),
            self._midnight(_next(self.per, first)),
        )

    def between(self, first: float, last: float) -> Iterator[BudgetPeriod]:
        """Yield the periods from that of ``first`` to that of ``last``, in order."""
        period = self.at(first)
        yield period
        while period.end <= last:
            period = self.at(period.end)
            yield period

    def clock_text(self, moment: float) -> str:
        """Return a moment as local time with the name of the zone, such as ``2026-12-01 00:00
        Europe/Berlin``."""
        return f"{datetime.fromtimestamp(moment, self.zone):%Y-%m-%d %H:%M} {zone_name(self.zone)}"

    def _midnight(self, day: date) -> float:
        """Return the start of a local date.

        If clocks skip midnight, that is the moment at which they do.
        """
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC).timestamp()


def zone_name(zone: tzinfo) -> str:
    return getattr(zone, "key", None) or str(zone)


def _first_day(per: Per, day: date) -> date:
    match per:
        case "day":
            return day
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)


def _next(per: Per, first: date) -> date:
    match per:
        case "day":
            return first + timedelta(days=1)
        case "week":
            return first + timedelta(days=7)
        case "month":
            return (first + timedelta(days=31)).replace(day=1)
