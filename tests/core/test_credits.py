"""Credits: exact, and nothing that isn't an amount."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.credits import format_credits, parse_credits

AMOUNTS = st.decimals(min_value=0, max_value=Decimal(10) ** 11, places=6)


@given(AMOUNTS)
def test_an_amount_survives_being_written_and_read(amount: Decimal) -> None:
    assert parse_credits(format_credits(amount)) == amount


@pytest.mark.parametrize(
    ("text", "shown"), [("12.50", "12.5"), ("0.0", "0"), ("250", "250"), ("1E+2", "100"), ("100", "100")]
)
def test_an_amount_is_written_plainly(text: str, shown: str) -> None:
    assert format_credits(parse_credits(text)) == shown


def test_a_thousand_tenths_are_a_hundred() -> None:
    assert sum((parse_credits("0.1") for _ in range(1000)), Decimal(0)) == 100


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-1", "-0.01", "1e12", "1e999999999", "1e-19", "ten", "", 0.1, True, None, [1]]
)
def test_what_is_no_amount_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="credits"):
        parse_credits(value)
