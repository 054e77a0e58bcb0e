"""Clock changes of time zones, and the schedules that they concern."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from crucible_batch.scheduled_time import read_timezone
from crucible_batch.scheduling.clock_changes import clock_changes, first_affected, have_same_clock, is_same_in_utc
from crucible_batch.scheduling.cron_fields import read_fields
from tests.case_table import each_case

BEGIN = datetime(2026, 11, 26, tzinfo=UTC)


def test_the_changes_of_berlin_are_at_one_in_utc_on_last_sundays() -> None:
    changes = list(clock_changes(read_timezone("Europe/Berlin"), BEGIN))
    assert [change.at for change in changes[:2]] == [
        datetime(2027, 3, 28, 1, tzinfo=UTC),
        datetime(2027, 10, 31, 1, tzinfo=UTC),
    ]
    assert len(changes) == 56
    assert {(change.at.hour, change.at.minute, change.at.weekday()) for change in changes} == {(1, 0, 6)}


@each_case(
    "zone, expression, affected",
    [
        ("Europe/Berlin", "15 3 * * *", None),
        ("Europe/Berlin", "59 1 * * *", None),
        ("Europe/Berlin", "0 2 * * *", "2027-03-28 02:00"),
        ("Europe/Berlin", "59 2 * * *", "2027-03-28 02:59"),
        ("Europe/Berlin", "30 2 * * 1", None),  # clocks change on Sundays
        ("Europe/Berlin", "30 2 * 5 *", None),
        ("Europe/Berlin", "30 2 30 10 *", "2033-10-30 02:30"),  # once in many years
        ("America/New_York", "15 3 * * *", None),
        ("America/New_York", "30 1 * * *", "2027-11-07 01:30"),
        ("Australia/Lord_Howe", "15 2 * * *", "2027-10-03 02:15"),  # half an hour
        ("Australia/Lord_Howe", "30 2 * * *", None),
        ("Asia/Tokyo", "30 2 * * *", None),
        ("UTC", "* * * * *", None),
    ],
)
def test_a_schedule_in_a_skipped_or_repeated_hour_is_found(zone: str, expression: str, affected: str | None) -> None:
    found = first_affected(read_fields(expression), read_timezone(zone), BEGIN)
    assert (found and f"{found:%Y-%m-%d %H:%M}") == affected


@each_case(
    "zone, expression, is_same",
    [
        ("Europe/Berlin", "0 * * * *", True),
        ("Europe/Berlin", "*/10 * * * *", True),
        ("Europe/Berlin", "0 0-23 * * *", False),  # without a star, an hour that is repeated counts once
        ("Europe/Berlin", "0 * * * 1", False),
        ("Europe/Berlin", "0 */2 * * *", False),
        ("Asia/Kolkata", "0 * * * *", False),  # half an hour from UTC
        ("Asia/Kolkata", "* * * * *", True),
    ],
)
def test_a_schedule_of_every_hour_is_the_same_in_utc(zone: str, expression: str, is_same: bool) -> None:
    assert is_same_in_utc(read_fields(expression), read_timezone(zone), BEGIN) is is_same


def test_zones_with_other_names_may_have_the_same_clock() -> None:
    berlin = read_timezone("Europe/Berlin")
    assert have_same_clock(berlin, read_timezone("Europe/Paris"), BEGIN)
    assert not have_same_clock(berlin, read_timezone("Europe/London"), BEGIN)
    assert not have_same_clock(berlin, read_timezone("Africa/Algiers"), BEGIN)  # the same in winter only
    assert next(clock_changes(berlin, BEGIN)).after == timedelta(hours=2)
