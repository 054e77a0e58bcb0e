"""Durations, read and written."""

import pytest

from crucible_batch.cli.units import format_duration, format_left
from crucible_batch.option_values import parse_duration
from tests.harness.case_table import each_case


@each_case(
    "text, seconds",
    [
        ("90s", 90),
        ("5m", 300),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1d", 86_400),
        ("45", 45),
        ("0.5", 0.5),
        ("1m0.5s", 60.5),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@each_case(
    "text",
    [
        "",
        "0",
        "0s",
        "-5",
        "5 m",
        "5M",
        "30m1h",
        "1h1h",
        "h",
        "nan",
        "inf",
        "1e3",
        "5min",
        "٣s",
        "99999d",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@each_case(
    "seconds, text",
    [
        (4.23, "4.2 s"),
        (38, "38 s"),
        (200, "3 min 20 s"),
        (59.6, "1 min"),
        (1500, "25 min"),
        (7500, "2 h 5 min"),
        (86_400, "1 d"),
        (792_000, "9 d 4 h"),
    ],
)
def test_a_duration_is_written_in_two_units_at_most(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_an_estimate_has_no_tenths() -> None:
    assert format_duration(4, whole=True) == "4 s"


@each_case(
    "seconds, text",
    [
        ((240, 170, 370), "~4 min (3-6)"),
        ((42, 31, 59), "~40 s (30-60)"),
        ((480, 240, None), "~8 min (4 or more)"),
        ((9000, 5400, 10_800), "~2.5 h (1.5-3.0)"),
        ((7, 7.2, 7.4), "~7 s"),
        ((0.2, 0.1, 0.3), "~1 s"),
    ],
)
def test_an_estimate_says_how_unsure_it_is(
    seconds: tuple[float, float, float | None], text: str
) -> None:
    assert format_left(*seconds) == text
