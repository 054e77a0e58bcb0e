"""Cron expressions, time zones and the variables of a scheduled time, at clock changes too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile

import pytest

from crucible_batch.scheduled_time import (
    check_cron,
    parse_time,
    read_timezone,
    time_of_kubernetes_job,
    time_variables,
    times_after,
    times_until,
)
from tests.harness.case_table import each_case

BERLIN = read_timezone("Europe/Berlin")
SPRING, AUTUMN = datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)


def _local(expression: str, after: datetime, count: int) -> list[str]:
    found = islice(times_after(expression, BERLIN, after), count)
    return [moment.astimezone(BERLIN).strftime("%d %H:%M%z") for moment in found]


@each_case(
    "expression, after, times",
    [
        (
            "30 2 * * *",
            SPRING,
            ["29 03:00+0200", "30 02:30+0200"],
        ),  # 02:30 doesn't exist on the 29th
        ("30 2 * * *", AUTUMN, ["25 02:30+0200", "26 02:30+0100"]),  # and occurs twice on the 25th
        ("0 * * * *", SPRING, ["29 00:00+0100", "29 01:00+0100", "29 03:00+0200"]),
        ("0 * * * *", AUTUMN, ["25 01:00+0200", "25 02:00+0200", "25 02:00+0100"]),
        ("*/30 2 * * *", SPRING, ["30 02:00+0200", "30 02:30+0200"]),
        (
            "*/30 2 * * *",
            AUTUMN,
            ["25 02:00+0200", "25 02:30+0200", "25 02:00+0100", "25 02:30+0100"],
        ),
    ],
)
def test_times_at_clock_changes_are_those_of_debians_cron(
    expression: str, after: datetime, times: list[str]
) -> None:
    assert _local(expression, after, len(times)) == times


@each_case("zone", ["UTC", "Europe/Berlin", "America/New_York"])
@each_case("expression", ["30 2 * * *", "0 * * * *", "*/30 2 * * *", "30 1-3 * * *", "0 0 * * 1"])
@each_case(
    "begin",
    [SPRING, AUTUMN, datetime(2026, 3, 7, 22, tzinfo=UTC), datetime(2026, 10, 31, 22, tzinfo=UTC)],
)
def test_times_until_and_after_any_moment_are_the_same_times(
    zone: str, expression: str, begin: datetime
) -> None:
    end, where = begin + timedelta(hours=60), read_timezone(zone)
    all_times = list(takewhile(lambda moment: moment <= end, times_after(expression, where, begin)))
    assert all_times == sorted(set(all_times))
    for minutes in range(0, 60 * 60, 17):
        moment = begin + timedelta(minutes=minutes)
        until = list(takewhile(lambda time: time > begin, times_until(expression, where, moment)))
        after = list(takewhile(lambda time: time <= end, times_after(expression, where, moment)))
        assert [*reversed(until), *after] == all_times
        assert all(time <= moment for time in until)


def test_a_time_is_its_own_latest_time_and_not_its_next() -> None:
    moment = datetime(2026, 11, 26, 2, 15, tzinfo=UTC)
    assert next(times_until("15 3 * * *", BERLIN, moment)) == moment
    assert next(times_after("15 3 * * *", BERLIN, moment)) == moment + timedelta(days=1)


@each_case(
    "expression, message",
    [
        ("nightly", "must have five fields"),
        ("0 15 3 * * *", "it has 6"),
        ("60 3 * * *", "bad minute"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("@daily", "must have five fields"),
    ],
)
def test_what_is_not_a_cron_expression_is_refused(expression: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_cron(expression)


@each_case("name", ["Europe", "Nope/No", "", "../etc/passwd", "/etc/localtime", "UTC\0"])
def test_what_is_not_a_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone"):
        read_timezone(name)


def test_variables_are_in_the_time_zone() -> None:
    assert time_variables(datetime(2026, 12, 31, 23, 30, tzinfo=UTC), BERLIN) == {
        "date": "2027-01-01",
        "week": "2026-W53",
        "month": "2027-01",
        "scheduled_at": "2027-01-01T00:30:00+01:00",
    }


@each_case(
    "text, moment",
    [
        ("2026-11-26T02:15:00Z", datetime(2026, 11, 26, 2, 15, tzinfo=UTC)),
        ("2026-11-26t02:15:00z", datetime(2026, 11, 26, 2, 15, tzinfo=UTC)),
        ("2026-11-26T03:15:00+01:00", datetime(2026, 11, 26, 2, 15, tzinfo=UTC)),
        ("2026-11-25T21:45:00-04:30", datetime(2026, 11, 26, 2, 15, tzinfo=UTC)),
        ("2026-11-26T03:15+01:00", datetime(2026, 11, 26, 2, 15, tzinfo=UTC)),
        (" 2026-11-26T02:15:00.987Z\n", datetime(2026, 11, 26, 2, 15, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_with_its_offset_and_to_the_second(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment


@each_case(
    "text, message",
    [
        ("2026-11-26T03:15:00", "has no offset from UTC"),
        ("2026-11-26T03:15", "has no offset from UTC"),
        ("2026-11-26", "is not a time such as"),
        ("03:15", "is not a time such as"),
        ("tomorrow", "is not a time such as"),
        ("1795659300", "is not a time such as"),
        ("2026-11-26 03:15:00Z", "is not a time such as"),
        ("2026-11-26T25:15:00Z", "is not a time"),
        ("2026-02-30T03:15:00Z", "is not a time"),
        ("2026-11-26T03:15:00+99:00", "is not a time"),
        ("0001-01-01T00:00:00+14:00", "the year must be from 1970 to 2999"),
        ("9999-12-31T23:59:59-14:00", "the year must be from 1970 to 2999"),
        ("٢٠٢٦-11-26T03:15:00Z", "is not a time such as"),
    ],
)
def test_a_time_of_another_form_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_time(text)


NOW = datetime(2026, 11, 26, 2, 16, 40, tzinfo=UTC)


@each_case(
    "name, moment",
    [
        ("nightly-29927655", datetime(2026, 11, 26, 2, 15, tzinfo=UTC)),
        ("my-nightly-2-29927655\n", datetime(2026, 11, 26, 2, 15, tzinfo=UTC)),
        (
            "nightly-29926215",
            datetime(2026, 11, 25, 2, 15, tzinfo=UTC),
        ),  # a job that was retried for a day
        ("", None),
        ("nightly", None),
        ("by-hand-1", None),
        ("nightly-29927655-x7k2p", None),  # the name of a pod
        ("nightly-20261126", None),  # a date, which would be in 2008
        ("nightly-39927655", None),  # in 2045
    ],
)
def test_the_time_of_a_cronjob_is_in_the_name_of_its_job(
    name: str, moment: datetime | None
) -> None:
    assert time_of_kubernetes_job(name, NOW) == moment
