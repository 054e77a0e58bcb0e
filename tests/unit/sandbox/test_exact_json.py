"""JSON of amounts, moments and dataclasses."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from crucible_batch.sandbox.exact_json import dumps, loads, members
from tests.harness.case_table import each_case


def test_a_tenth_is_written_as_a_tenth() -> None:
    assert dumps([Decimal("0.1") * 3, Decimal("1000"), Decimal("2.50")]) == "[0.3,1000,2.5]"


@dataclass(frozen=True, slots=True)
class Inner:
    price: Decimal


@dataclass(frozen=True, slots=True)
class Outer:
    name: str
    inner: Inner | None
    many: tuple[Inner, ...] = ()


def test_a_dataclass_is_an_object_of_its_fields() -> None:
    outer = Outer("a", Inner(Decimal("1.10")), (Inner(Decimal(2)),))
    assert dumps(outer) == '{"name":"a","inner":{"price":1.1},"many":[{"price":2}]}'
    assert members(outer) == {"name": "a", "inner": outer.inner, "many": outer.many}


def test_what_has_no_json_is_a_type_error() -> None:
    for value in ({1, 2}, object(), b"ab"):
        with pytest.raises(TypeError):
            dumps(value)


def test_moments_end_in_z() -> None:
    assert dumps(datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)) == '"2026-01-02T03:04:05.678Z"'


def test_keys_are_sorted_on_demand() -> None:
    assert dumps({"b": 1, "a": {"d": 2, "c": 3}}, sort_keys=True) == '{"a":{"c":3,"d":2},"b":1}'


@each_case(
    "raw",
    [
        b"",
        b"{",
        b"NaN",
        b"[Infinity]",
        b"[" * 100_000,
        b'"\\ud800"',
        b'{"\\ud800": 1}',
        b"\xff",
        b"1e99999999999999999999",
        b"9" * 5000,
    ],
)
def test_what_could_not_be_written_again_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        loads(raw)


def test_numbers_that_json_lacks_are_not_written() -> None:
    for value in (Decimal("NaN"), float("nan")):
        with pytest.raises(ValueError, match=r".*"):
            dumps(value)
