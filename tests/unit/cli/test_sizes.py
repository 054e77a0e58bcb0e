"""Sizes, read."""

import pytest

from crucible_batch.cli.option_parsers import parse_bytes, parse_pixels, read_credits
from tests.harness.case_table import each_case


@each_case(
    "text, count",
    [
        ("1", 1),
        ("256MB", 256_000_000),
        ("256 mb", 256_000_000),
        ("1GiB", 2**30),
        ("1.5kB", 1500),
        ("10KiB", 10_240),
    ],
)
def test_a_number_of_bytes_is_read_as_people_write_it(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@each_case(
    "text, count",
    [
        ("1", 1),
        ("100MP", 100_000_000),
        ("2.5 mp", 2_500_000),
        ("40M", 40_000_000),
        ("64kp", 64_000),
    ],
)
def test_a_number_of_pixels_is_read_as_people_write_it(text: str, count: int) -> None:
    assert parse_pixels(text) == count


@each_case(
    "text", ["", "0", "0.4", "-5", "MB", "1e9", "1 2", "٣MB", "nan", "inf", "5MBs", "9" * 16]
)
@each_case("parse", [parse_bytes, parse_pixels])
def test_anything_else_is_refused(text: str, parse: object) -> None:
    with pytest.raises(ValueError, match="is not valid; write"):
        parse(text)  # type: ignore[operator]


@each_case("text", ["12,5", "1,250"])
def test_credits_with_a_comma_are_refused_with_both_ways_to_write_them(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' has a comma; write 12.5 or 1250"):
        read_credits(text)
