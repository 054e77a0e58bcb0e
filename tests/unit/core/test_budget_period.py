"""Periods follow the local calendar, also where clocks change at midnight or a date is skipped."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.budget_period import Calendar, Per, zone_name
from tests.harness.case_table import each_case

HOUR = 3600.0
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/Havana",
    "Africa/Cairo",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "America/Sao_Paulo",
]


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@each_case(
    "per, zone, moment, first, start, hours",
    [
        ("day", "UTC", "2026-11-26T23:59:59+00:00", "2026-11-26", "2026-11-26T00:00:00+00:00", 24),
        (
            "day",
            "Europe/Berlin",
            "2026-11-26T23:30:00+00:00",
            "2026-11-27",
            "2026-11-26T23:00:00+00:00",
            24,
        ),
        (
            "day",
            "Europe/Berlin",
            "2026-03-29T12:00:00+00:00",
            "2026-03-29",
            "2026-03-28T23:00:00+00:00",
            23,
        ),
        (
            "day",
            "Europe/Berlin",
            "2026-10-25T12:00:00+00:00",
            "2026-10-25",
            "2026-10-24T22:00:00+00:00",
            25,
        ),
        # Clocks go from 24:00 to 01:00, and from 24:00 back to 23:00.
        (
            "day",
            "Africa/Cairo",
            "2026-04-24T12:00:00+00:00",
            "2026-04-24",
            "2026-04-23T22:00:00+00:00",
            23,
        ),
        (
            "day",
            "Africa/Cairo",
            "2026-10-29T21:30:00+00:00",
            "2026-10-29",
            "2026-10-28T21:00:00+00:00",
            25,
        ),
        # 2011-12-30 was skipped.
        (
            "day",
            "Pacific/Apia",
            "2011-12-30T09:59:59+00:00",
            "2011-12-29",
            "2011-12-29T10:00:00+00:00",
            24,
        ),
        (
            "day",
            "Pacific/Apia",
            "2011-12-30T10:00:00+00:00",
            "2011-12-31",
            "2011-12-30T10:00:00+00:00",
            24,
        ),
        (
            "week",
            "UTC",
            "2027-01-01T00:00:00+00:00",
            "2026-12-28",
            "2026-12-28T00:00:00+00:00",
            7 * 24,
        ),
        (
            "week",
            "Europe/Berlin",
            "2026-10-25T22:59:59+00:00",
            "2026-10-19",
            "2026-10-18T22:00:00+00:00",
            7 * 24 + 1,
        ),
        (
            "month",
            "UTC",
            "2028-02-29T23:59:59+00:00",
            "2028-02-01",
            "2028-02-01T00:00:00+00:00",
            29 * 24,
        ),
        (
            "month",
            "UTC",
            "2026-12-31T23:59:59+00:00",
            "2026-12-01",
            "2026-12-01T00:00:00+00:00",
            31 * 24,
        ),
        (
            "month",
            "Europe/Berlin",
            "2026-10-31T22:59:59+00:00",
            "2026-10-01",
            "2026-09-30T22:00:00+00:00",
            31 * 24 + 1,
        ),
    ],
)
def test_a_period_by_the_calendar(
    per: Per, zone: str, moment: str, first: str, start: str, hours: int
) -> None:
    period = Calendar(per, ZoneInfo(zone)).at(at(moment))
    assert (period.first, period.start, period.end - period.start) == (
        first,
        at(start),
        hours * HOUR,
    )


@given(
    per=st.sampled_from(["day", "week", "month"]),
    zone=st.sampled_from(ZONES),
    moment=st.floats(at("2000-01-01T00:00:00+00:00"), at("2037-01-01T00:00:00+00:00")),
)
def test_every_moment_is_in_one_period_and_periods_have_no_gap(
    per: Per, zone: str, moment: float
) -> None:
    calendar = Calendar(per, ZoneInfo(zone))
    period = calendar.at(moment)
    following = calendar.at(period.end)
    assert period.start <= moment < period.end == following.start
    assert period.first < following.first
    assert calendar.at(period.start) == calendar.at(period.end - 1e-6) == period
    assert list(calendar.between(moment, period.end)) == [period, following]
    assert list(calendar.between(moment, moment)) == [period]


def test_a_moment_is_shown_as_local_time_with_its_zone() -> None:
    calendar = Calendar("month", ZoneInfo("Europe/Berlin"))
    assert (
        calendar.clock_text(calendar.at(at("2026-11-26T12:00:00+00:00")).end)
        == "2026-12-01 00:00 Europe/Berlin"
    )
    assert (zone_name(ZoneInfo("Europe/Berlin")), zone_name(UTC)) == ("Europe/Berlin", "UTC")
