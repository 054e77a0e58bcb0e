"""The fields of cron expressions, and what other schedulers get of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from crucible_batch.features.schedule.cron_fields import CronFields, plain_fields, read_fields
from crucible_batch.features.schedule.export.systemd import on_calendar
from crucible_batch.scheduled_time import times_after
from tests.harness.case_table import each_case

BEGIN = datetime(2026, 11, 26, tzinfo=UTC)


@each_case(
    "expression, plain, calendar",
    [
        ("15 3 * * *", "15 3 * * *", ["*-*-* 03:15:00 UTC"]),
        ("*/15 * * * *", "0,15,30,45 * * * *", ["*-*-* *:00,15,30,45:00 UTC"]),
        ("0 0 1,15 * 5", "0 0 1,15 * 5", ["*-*-01,15 00:00:00 UTC", "Fri *-*-* 00:00:00 UTC"]),
        ("0 9-17/4 * * mon-fri", "0 9,13,17 * * 1-5", ["Mon..Fri *-*-* 09,13,17:00:00 UTC"]),
        ("0 6 * jan,jul sun", "0 6 * 1,7 0", ["Sun *-01,07-* 06:00:00 UTC"]),
        ("0 6 * * 5-7", "0 6 * * 0,5,6", ["Fri..Sun *-*-* 06:00:00 UTC"]),
        ("0 6 * * 0-6", "0 6 * * *", ["*-*-* 06:00:00 UTC"]),
        ("0 6 1-31 * 1", "0 6 * * *", ["*-*-* 06:00:00 UTC"]),  # any day or Mondays
        ("5/20 0 * * *", "5,25,45 0 * * *", ["*-*-* 00:05,25,45:00 UTC"]),
        ("0 0 31 * *", "0 0 31 * *", ["*-*-31 00:00:00 UTC"]),
        ("* * * * *", "* * * * *", ["*-*-* *:*:00 UTC"]),
        ("0-59 0-23 * 1-12 *", "* * * * *", ["*-*-* *:*:00 UTC"]),
    ],
)
def test_an_expression_is_written_for_others(
    expression: str, plain: str, calendar: list[str]
) -> None:
    fields = read_fields(expression)
    assert " ".join(plain_fields(fields)) == plain
    assert list(on_calendar(fields, "UTC")) == calendar


EXPRESSIONS = (
    "15 3 * * *", "*/7 */5 * * *", "0 0 1,15 * 5", "0 12 */2 * 1", "30 4 * 2 *", "0 0 29 2 *",
    "1-9/3 3-5 10-20 3 *", "0 8 * * sat,sun", "10 10 13 * fri", "0 0 */3 */2 */2", "3 22 * * 7",
)  # fmt: skip


def matches(fields: CronFields, moment: datetime) -> bool:
    if (
        moment.minute not in fields.minutes
        or moment.hour not in fields.hours
        or moment.month not in fields.months
    ):
        return False
    weekday = moment.isoweekday() % 7
    return any(
        (rule.days is None or moment.day in rule.days)
        and (rule.weekdays is None or weekday in rule.weekdays)
        for rule in fields.day_rules
    )


@each_case("expression", EXPRESSIONS)
def test_an_expression_matches_exactly_its_times(expression: str) -> None:
    fields = read_fields(expression)
    expected = list(islice(times_after(expression, UTC, BEGIN), 20))
    end = min(expected[-1], BEGIN + timedelta(days=90))
    found, moment = [], BEGIN
    while (moment := moment + timedelta(minutes=1)) <= end:
        if matches(fields, moment):
            found.append(moment)
    assert found == [time for time in expected if time <= end]


def test_a_day_and_a_weekday_that_must_both_match_are_only_for_systemd() -> None:
    fields = read_fields("0 12 */10 * 1")
    assert on_calendar(fields, "UTC") == ("Mon *-*-01,11,21,31 12:00:00 UTC",)
    with pytest.raises(ValueError, match="both match"):
        plain_fields(fields)


@each_case("expression", ["0 0 L * *", "0 0 LW * *", "0 0 * * 5L", "0 0 * * 1#2"])
def test_extensions_of_cronsim_are_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="not available"):
        read_fields(expression)


@each_case(
    "expression, written",
    [
        ("*/15 2 * * MON-fri", "*/15 2 * * 1-5"),
        ("5/20 * 3/7 jan *", "5-59/20 * 3-31/7 1 *"),
        ("0 0 * dec sun,sat", "0 0 * 12 0,6"),
    ],
)
def test_fields_for_debians_cron_keep_their_stars(expression: str, written: str) -> None:
    assert " ".join(read_fields(expression).written) == written
