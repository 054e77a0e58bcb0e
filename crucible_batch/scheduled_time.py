"""Scheduled times: cron expressions, time zones, their text, and their template variables.

Cron expressions have Debian cron's five fields, and its rules for clock changes: a job with a fixed
hour and minute whose local time is skipped runs right after the gap, and one whose local time
occurs twice runs at the first. An expression whose hour or minute begins with ``*`` follows real
time, so it runs in both of two repeated hours.

Times are in UTC, since Python compares times of the same zone by their local clock, which is wrong
in a repeated hour.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

TIME_VARIABLES = ("date", "week", "month", "scheduled_at")

_FIELDS = 5
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(?P<offset>Z|[+-]\d\d:\d\d)?", re.ASCII
)
_FIRST_YEAR, _LAST_YEAR = 1970, 2999
_KUBERNETES_JOB = re.compile(r".*-(\d{8})", re.ASCII)
_KUBERNETES_BEGAN = datetime(2014, 1, 1, tzinfo=UTC)
_CLOCK_CHANGE = timedelta(hours=3)
"""More than clocks are ever changed by. CronSim starts at a local time, so it starts this much
outside the range."""


def read_timezone(name: str) -> tzinfo:
    """Return a time zone by its IANA name, such as ``Europe/Berlin``.

    Raises ``ValueError`` if there is none.
    """
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        # The name may be that of a folder, or not a path at all.
        raise ValueError(
            f"{name[:100]!r} is not a time zone; write one like UTC or Europe/Berlin"
        ) from None


def check_cron(expression: str) -> None:
    """Raise ``ValueError`` if the text is not a cron expression of five fields.

    It is also raised if the expression describes no time, such as one for February 30.
    """
    fields = len(expression.split())
    if fields != _FIELDS:
        raise ValueError(
            "must have five fields (minute hour day month weekday), such as 15 3 * * *; "
            f"it has {fields}"
        )
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - most manifests have no schedule

    try:
        next(CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        reason = str(error)
        raise ValueError(f"is not a cron expression: {reason[:1].lower()}{reason[1:]}") from None
    except StopIteration:
        raise ValueError("describes no time in the next 50 years") from None


def times_after(expression: str, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """Yield the scheduled times later than ``after``, in order, in UTC.

    Ends after 50 years without a time.
    """
    from cronsim import CronSim  # noqa: PLC0415 - as above

    for found in CronSim(expression, (after - _CLOCK_CHANGE).astimezone(zone)):
        moment = found.astimezone(UTC)
        if moment > after:
            yield moment


def times_until(expression: str, zone: tzinfo, until: datetime) -> Iterator[datetime]:
    """Yield the scheduled times at or before ``until``, latest first, in UTC."""
    from cronsim import CronSim  # noqa: PLC0415 - as above

    for found in CronSim(expression, (until + _CLOCK_CHANGE).astimezone(zone), reverse=True):
        moment = found.astimezone(UTC)
        if moment <= until:
            yield moment


def parse_time(text: str) -> datetime:
    """Return the time of an RFC 3339 text, in UTC and to the second.

    An example is 2026-11-26T03:15:00+01:00. Seconds may be left out. Raises ``ValueError`` for
    another form, a time without an offset, or a year before 1970 or after 2999.
    """
    match = _RFC_3339.fullmatch(text.strip().upper())
    if match is None:
        raise ValueError(
            f"{text[:60]!r} is not a time such as 2026-11-26T03:15:00+01:00 or 2026-11-26T02:15:00Z"
        )
    if match["offset"] is None:
        raise ValueError(
            f"{text[:60]!r} has no offset from UTC; append Z for UTC, or one such as +01:00"
        )
    try:
        return whole_seconds(datetime.fromisoformat(match[0]))
    except ValueError as error:
        raise ValueError(f"{text[:60]!r} is not a time: {error}") from None


def whole_seconds(moment: datetime) -> datetime:
    """Return a time in UTC, to the second.

    Raises ``ValueError`` if it has no time zone, or for a year out of range.
    """
    if moment.tzinfo is None:
        raise ValueError("it has no time zone")
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError(f"the year must be from {_FIRST_YEAR} to {_LAST_YEAR}")
    return moment.astimezone(UTC).replace(microsecond=0)


def time_of_kubernetes_job(name: str, now: datetime) -> datetime | None:
    """Return the scheduled time in the name of a CronJob's job.

    Such a name ends in the minutes since 1970. None for a name without a plausible time, such as
    that of a job made by hand.
    """
    match = _KUBERNETES_JOB.fullmatch(name.strip())
    if match is None:
        return None
    moment = datetime.fromtimestamp(int(match[1]) * 60, UTC)
    if not _KUBERNETES_BEGAN <= moment <= now + timedelta(days=1):
        return None
    return moment


def time_variables(scheduled_at: datetime, zone: tzinfo) -> dict[str, str]:
    """Return the template variables of a scheduled time, in a time zone.

    ``date`` is like 2026-11-26, ``week`` the ISO week, like 2026-W48, ``month`` like 2026-11, and
    ``scheduled_at`` an RFC 3339 time to the second, like 2026-11-26T03:15:00+01:00.
    """
    local = scheduled_at.astimezone(zone)
    year, week, _ = local.isocalendar()
    return {
        "date": f"{local:%Y-%m-%d}",
        "week": f"{year:04}-W{week:02}",
        "month": f"{local:%Y-%m}",
        "scheduled_at": local.isoformat(timespec="seconds"),
    }
