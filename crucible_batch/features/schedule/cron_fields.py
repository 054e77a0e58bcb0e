"""The five fields of a cron expression as sets of values, for schedulers with other notations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

_ALL = (range(60), range(24), range(1, 32), range(1, 13), range(7))
_LIMITS = (59, 23, 31, 12, 7)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


@dataclass(frozen=True, slots=True)
class DayRule:
    """Days that match: those of the month that are also such weekdays (Sunday is 0).

    None means any.
    """

    days: frozenset[int] | None
    weekdays: frozenset[int] | None


@dataclass(frozen=True, slots=True)
class CronFields:
    """The values of a cron expression. A day matches if one of ``day_rules`` does.

    ``written`` are the fields with numbers in place of names, for Debian's cron.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    months: frozenset[int]
    day_rules: tuple[DayRule, ...]
    written: tuple[str, ...]


def read_fields(expression: str) -> CronFields:
    """Return the fields of a valid expression.

    Raises ``ValueError`` for CronSim's extensions ``L``, ``LW`` and ``#``, which other schedulers
    do not have.
    """
    from cronsim import CronSim  # noqa: PLC0415 - most manifests have no schedule

    parsed = CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC))
    extended = any(day < 0 for day in parsed.days) or any(
        isinstance(each, tuple) for each in parsed.weekdays
    )
    if extended:
        raise ValueError("L, LW and # are not available there; write the days as numbers or ranges")
    weekdays = frozenset(each % 7 for each in parsed.weekdays if isinstance(each, int))
    days = frozenset(parsed.days)
    written = tuple(
        ",".join(_term(index, term) for term in text.split(","))
        for index, text in enumerate(expression.upper().split())
    )
    return CronFields(
        minutes=frozenset(parsed.minutes),
        hours=frozenset(parsed.hours),
        months=frozenset(parsed.months),
        day_rules=_day_rules(days, weekdays, both=parsed.day_and),
        written=written,
    )


def _day_rules(
    days: frozenset[int], weekdays: frozenset[int], *, both: bool
) -> tuple[DayRule, ...]:
    """Return the rules of days.

    Debian's cron needs both fields to match if one of them begins with ``*``.
    """
    some_days: frozenset[int] | None = days
    if days == frozenset(_ALL[2]):
        some_days = None
    some_weekdays: frozenset[int] | None = weekdays
    if weekdays == frozenset(_ALL[4]):
        some_weekdays = None
    if both:
        return (DayRule(some_days, some_weekdays),)
    if some_days is None or some_weekdays is None:
        return (DayRule(None, None),)
    return (DayRule(some_days, None), DayRule(None, some_weekdays))


def _term(index: int, term: str) -> str:
    """Return a term of a field with numbers in place of names, and ranges in place of ``a/n``."""
    span, slash, step = term.partition("/")
    bounds = [_number(index, bound) for bound in span.split("-")]
    if slash and len(bounds) == 1 and bounds[0] != "*":
        bounds.append(str(_LIMITS[index]))
    return "-".join(bounds) + slash + step


def _number(index: int, word: str) -> str:
    names = {
        3: {name: at + 1 for at, name in enumerate(_MONTHS)},
        4: {name: at for at, name in enumerate(_WEEKDAYS)},
    }
    return str(names.get(index, {}).get(word, word))


def plain_fields(fields: CronFields) -> tuple[str, ...]:
    """Return five fields of lists and ranges of numbers, which every cron reads in the same way.

    Raises ``ValueError`` if days and weekdays must both match: only Debian's cron has an expression
    for that.
    """
    days: Collection[int] | None
    weekdays: Collection[int] | None
    match fields.day_rules:
        case (DayRule(days, weekdays),):
            if days is not None and weekdays is not None:
                raise ValueError("a day and a weekday that must both match can't be written there")
        case (first, second):
            days, weekdays = first.days, second.weekdays
        case _:
            raise AssertionError(fields.day_rules)
    values = (fields.minutes, fields.hours, days, fields.months, weekdays)
    return tuple(_field(index, each) for index, each in enumerate(values))


def _field(index: int, values: frozenset[int] | None) -> str:
    if values is None or values == frozenset(_ALL[index]):
        return "*"
    return ",".join(spans(values))


def spans(values: Iterable[int], dash: str = "-") -> Iterator[str]:
    """Yield numbers in order, with three or more consecutive ones as a range: 1-5, 8."""
    ordered = sorted(values)
    begin = 0
    for index, value in enumerate(ordered):
        if index + 1 < len(ordered) and ordered[index + 1] == value + 1:
            continue
        run = ordered[begin : index + 1]
        if len(run) > 2:
            yield f"{run[0]}{dash}{run[-1]}"
        else:
            yield from map(str, run)
        begin = index + 1
