"""Credits: exact decimal amounts of the gateway's currency."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from typing import Annotated

Credits = Decimal
"""An exact amount of credits. Never made from a binary float."""

ZERO: Credits = Decimal(0)

MAX_EXPONENT = 12
MAX_PLACES = 18
"""Amounts at or above 10**12, or finer than 10**-18, are refused. A gateway that computes in binary
floats writes up to 17 places (2.0000000000000004), and sums below 10**10 of such amounts stay exact
in the 28 digits of a Decimal."""

MAX_STORED_EXPONENT = 18
"""A hold may be a multiple of an amount of the gateway's, so amounts in our own files may be
larger."""

_FIGURE_PLACES = 12
_EXACT = Context(prec=MAX_EXPONENT + _FIGURE_PLACES)


def parse_credits(value: object) -> Credits:
    """Read an amount from JSON or YAML text.

    Takes ``Decimal``, ``int`` and decimal text. Raises ``ValueError`` for NaN, infinity, negative,
    too large or too fine amounts, and for ``float``, which has lost the exact text.
    """
    amount = _finite(value)
    if amount < 0:
        raise ValueError(f"credits must be zero or more, got {value!r}")
    if _places(amount) > MAX_PLACES:
        raise ValueError(
            f"an amount of credits has at most {MAX_PLACES} decimal places, got {value!r}"
        )
    return amount or amount.copy_abs()  # no negative zero


@dataclass(frozen=True, slots=True)
class Stored:
    """The check of a stored amount, and its pydantic validator, without importing pydantic here."""

    check: Callable[[Decimal], Credits]

    def __get_pydantic_core_schema__(
        self, source: object, handler: Callable[[object], object]
    ) -> Mapping[str, object]:
        check = {"type": "no-info", "function": self.check}
        return {"type": "function-after", "function": check, "schema": handler(source)}


def _check_change(amount: Decimal) -> Credits:
    _, digits, exponent = amount.as_tuple()
    if not isinstance(exponent, int):  # NaN or infinite
        raise ValueError("not a valid amount of credits")  # noqa: TRY004
    if exponent < -MAX_PLACES or exponent + len(digits) > MAX_STORED_EXPONENT:
        raise ValueError("not a valid amount of credits")
    return amount or amount.copy_abs()


def _check_stored(amount: Decimal) -> Credits:
    checked = _check_change(amount)
    if checked < 0:
        raise ValueError("not a valid amount of credits")
    return checked


StoredCredits = Annotated[Decimal, Stored(_check_stored)]
"""An amount in a file of ours, which is untrusted: reading it fails unless it is finite and not
negative.
"""


StoredChange = Annotated[Decimal, Stored(_check_change)]
"""The same, of either sign."""


def parse_figure(value: object) -> Credits:
    """Read a figure of an account like an amount, but of any sign: an account may be in debt.

    No charge depends on it, so digits below a trillionth (2.8e-17, if a gateway subtracts binary
    floats) are rounded.
    """
    figure = _finite(value)
    if _places(figure) > _FIGURE_PLACES:
        figure = figure.quantize(Decimal(1).scaleb(-_FIGURE_PLACES), context=_EXACT)
    return figure or ZERO


def _finite(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, Decimal | int | str):
        # One error for all invalid amounts.
        raise ValueError(f"{value!r} is not an amount of credits")  # noqa: TRY004
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{value!r} is not an amount of credits") from None
    if not amount.is_finite():
        raise ValueError(f"credits must be finite, got {value!r}")
    if amount.adjusted() >= MAX_EXPONENT:
        raise ValueError(f"an amount of credits is below 10^{MAX_EXPONENT}, got {value!r}")
    return amount


def _places(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def format_credits(amount: Credits) -> str:
    """Write an amount as plain decimal text without trailing zeros, and negative zero as ``0``:
    ``12.5``, ``0``.
    """
    text = format(amount or ZERO, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
