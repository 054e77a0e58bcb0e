"""Plain scalars are what YAML 1.2's core schema says."""

from __future__ import annotations

from typing import Any

import pytest

from crucible_batch.manifest import yaml_scalars
from tests.harness.case_table import each_case


@each_case(
    "text, value",
    [
        ("", None), ("~", None), ("null", None), ("Null", None), ("NULL", None), ("nULL", "nULL"),
        ("true", True), ("True", True), ("TRUE", True), ("false", False), ("tRUE", "tRUE"),
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"),
        ("0", 0), ("-12", -12), ("+7", 7), ("010", 10), ("0x1F", 31), ("0o17", 15),
        ("0b11", "0b11"), ("18446744073709551615", 2**64 - 1),
        ("1_000", "1_000"), ("12:30", "12:30"),
        ("12:30:00", "12:30:00"), ("2001-01-01", "2001-01-01"),
        ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("-1.5E-3", -0.0015),
        ("1.2.3", "1.2.3"), ("1,5", "1,5"), ("+", "+"), ("-", "-"), (".", "."), ("e3", "e3"),
        ("0x", "0x"), ("0o8", "0o8"), ("word", "word"), ("nothing", "nothing"), ("٣", "٣"),
    ],
)  # fmt: skip
def test_a_plain_scalar_is_what_the_core_schema_says(text: str, value: Any) -> None:
    resolved = yaml_scalars.resolve(text)
    assert resolved == value
    assert type(resolved) is type(value)


@each_case(
    "text, message",
    [
        (".nan", "is not a valid number"),
        (".inf", "is not a valid number"),
        ("-.INF", "is not a valid number"),
        ("1e999", "too large"),
        ("9" * 101, "too long"),
        ("0x" + "f" * 200, "too long"),
        ("1." + "0" * 5000, "too long"),
    ],
)
def test_what_no_job_can_be_given_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        yaml_scalars.resolve(text)


@each_case(
    "text, says",
    [
        ("no", "the text 'no'"), ("Yes", "the text 'Yes'"), ("ON", "the text"), ("off", "the text"),
        ("y", "the text"), ("010", "the number 10"), ("-007", "the number -7"),
        ("00", "the number 0"),
    ],
)  # fmt: skip
def test_what_older_tools_read_otherwise_is_pointed_out(text: str, says: str) -> None:
    assert says in (yaml_scalars.misreading(text) or "")


@each_case(
    "text", ["", "0", "10", "1.5", "north", "a_b", "true", "null", "16:9:x", "photo_1", "0x10"]
)
def test_what_all_tools_read_alike_is_left_alone(text: str) -> None:
    assert yaml_scalars.misreading(text) is None


@each_case("text", ["no", "010", "Yes", "off", "y"])
def test_the_fast_path_never_hides_a_doubt(text: str) -> None:
    assert text[0] in yaml_scalars.MAYBE_TYPED
