"""Retry-After: what is read, what is nonsense, and that nothing at all can break it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.gateway.response_errors import parse_retry_after
from tests.harness.case_table import each_case

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
CAP = 120.0


def parse(value: str | None, date: str | None = None) -> float | None:
    return parse_retry_after(value, date=date, now=NOW, cap_s=CAP)


@each_case(
    "value, expected",
    [
        (None, None), ("0", 0.0), ("5", 5.0), (" 5\t", 5.0), ("007", 7.0), ("120", 120.0),
        ("121", CAP), ("999999999999", CAP), ("9" * 4000, CAP), ("9" * 5000, None),
        ("", None), ("soon", None), ("-5", None), ("+5", None), ("5.5", None), ("1e9", None),
        ("1_0", None), ("٥", None), ("５", None), ("5 s", None), ("5, 6", None), ("0x10", None),
        ("inf", None), ("nan", None), ("\n5", None), ("5\x00", None),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0), ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Sun, 01 Mar 2099 12:00:30 GMT", CAP),
        ("Sun, 01 Mar 2026 12:00:30", None), ("Sun, 01 Mar 2026 12:00:30 -0000", None),
        ("Sun, 01 Mar 2026 12:00:30 PST", None), ("2026-03-01T12:00:30Z", None),
        ("Sun, 31 Feb 2026 12:00:30 GMT", None), ("Sun, 01 Mar 2026 25:00:30 GMT", None),
        ("Sun, 01 Mar 0000 12:00:30 GMT", None), ("Sunday, 01-Mar-26 12:00:30 GMT", None),
        ("Sun Mar  1 12:00:30 2026", None),
    ],
)  # fmt: skip
def test_a_header_is_read_strictly(value, expected):
    assert parse(value) == expected


@each_case("date", ["nonsense", "", "Sun, 31 Feb 2026 12:00:00 GMT"])
def test_a_date_header_that_is_nonsense_leaves_our_own_clock(date):
    assert parse("Sun, 01 Mar 2026 12:00:30 GMT", date) == 30.0


@given(value=st.text(max_size=60), date=st.none() | st.text(max_size=60))
def test_any_text_gives_none_or_a_bounded_wait(value, date):
    wait = parse(value, date)
    assert wait is None or 0 <= wait <= CAP


@given(seconds=st.integers(0, 10**30))
def test_seconds_are_what_they_say_up_to_the_cap(seconds):
    assert parse(str(seconds)) == min(seconds, CAP)


@given(
    # They are made aware below.
    served=st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001
    wait=st.integers(-10_000, 10_000),
)
def test_a_date_waits_as_long_as_the_server_meant(served, wait):
    served = served.replace(microsecond=0, tzinfo=UTC)
    until = format_datetime(served + timedelta(seconds=wait), usegmt=True)
    assert parse(until, format_datetime(served, usegmt=True)) == min(max(wait, 0), CAP)
