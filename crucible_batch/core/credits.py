"""Credits: exact decimal amounts of the gateway's currency."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TypeAlias

Credits: TypeAlias = Decimal
"""An exact amount of credits. Never made from a binary float."""

ZERO: Credits = Decimal(0)

MAX_EXPONENT = 12
MAX_PLACES = 18
"""Amounts at or above 10**12, or finer than 10**-18, are refused. A gateway that computes in binary floats writes up to
17 places (2.0000000000000004), and sums below 10**10 of such amounts stay exact in the 28 digits of a Decimal."""


def parse_credits(value: object) -> Credits:
    """Read an amount from JSON or YAML text.

    Takes ``Decimal``, ``int`` and decimal text. Raises ``ValueError`` for NaN, infinity, negative or absurdly large or
    fine amounts, and for ``float``: by then the exact text is already lost.
    """
    if isinstance(value, bool) or not isinstance(value, Decimal | int | str):
        raise ValueError(f"not an amount of credits: {value!r}")  # noqa: TRY004 - one error for all that is no amount
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"not an amount of credits: {value!r}") from None
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"credits must be zero or more, and finite: {value!r}")
    exponent = amount.as_tuple().exponent
    if amount.adjusted() >= MAX_EXPONENT or (isinstance(exponent, int) and exponent < -MAX_PLACES):
        raise ValueError(f"an absurd amount of credits: {value!r}")
    return amount


def format_credits(amount: Credits) -> str:
    """Write an amount as plain decimal text without trailing zeros: ``12.5``, ``0``, ``250``."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
