"""Credits: exact, and nothing that isn't an amount."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.credits import format_credits, parse_credits, parse_figure
from tests.harness.case_table import each_case

AMOUNTS = st.decimals(min_value=0, max_value=Decimal(10) ** 11, places=6)


@given(AMOUNTS)
def test_an_amount_survives_being_written_and_read(amount: Decimal) -> None:
    assert parse_credits(format_credits(amount)) == amount


@each_case(
    "text, shown",
    [
        ("12.50", "12.5"),
        ("0.0", "0"),
        ("250", "250"),
        ("1E+2", "100"),
        ("100", "100"),
        ("1e-18", f"0.{1:018}"),
    ],
)
def test_an_amount_is_written_plainly(text: str, shown: str) -> None:
    assert format_credits(parse_credits(text)) == shown


@each_case("zero", ["-0", "-0.00", "-0E-7", "-0E+3"])
def test_negative_zero_is_written_as_zero(zero: str) -> None:
    assert format_credits(Decimal(zero)) == "0"


def test_a_thousand_tenths_are_a_hundred() -> None:
    assert sum((parse_credits("0.1") for _ in range(1000)), Decimal(0)) == 100


@each_case(
    "value",
    [
        "NaN",
        "Infinity",
        "-1",
        "-0.01",
        "1e12",
        "1e999999999",
        "1e-19",
        "ten",
        "",
        0.1,
        True,
        None,
        [1],
    ],
)
def test_what_is_no_amount_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="credits"):
        parse_credits(value)


@each_case(
    "value, shown",
    [
        ("2.7755575615628914e-17", "0"), ("-2.8e-17", "0"), ("-0", "0"), ("0.00", "0"),
        ("1e-999999999", "0"), ("-5", "-5"), (-5, "-5"), ("99.99999999999999999", "100"),
        ("12.300000000000000001", "12.3"), ("-0.000000000001", "-0.000000000001"),
        ("999999999999.1234567890125", "999999999999.123456789012"),
    ],
)  # fmt: skip
def test_a_figure_of_an_account_may_be_a_debt_and_is_no_residue(value: Any, shown: str) -> None:
    with localcontext() as context:
        context.prec = 5  # whatever precision the user's own program works with
        assert format_credits(parse_figure(value)) == shown


@given(AMOUNTS)
def test_a_figure_of_sensible_size_is_exact(amount: Decimal) -> None:
    assert parse_figure(str(-amount)) == -amount


@each_case(
    "value", ["NaN", "-Infinity", "1e12", "-1e12", "1e999999999", "ten", "", 0.1, True, None, [1]]
)
def test_what_is_no_figure_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="credits"):
        parse_figure(value)
