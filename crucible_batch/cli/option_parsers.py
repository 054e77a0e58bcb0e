"""Parsers of option values, as typer calls them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import wraps
from typing import TypeVar

import typer

from crucible_batch.errors import UserError
from crucible_batch.option_values import AUTO, MOST_AT_ONCE

_Value = TypeVar("_Value")


def option_parser(parse: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """Return a parser of an option's text that raises ``typer.BadParameter`` where ``parse`` raises ``ValueError``."""

    @wraps(parse)
    def read(text: str) -> _Value:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return read


def read_credits(text: str) -> Decimal:
    from crucible_batch.api import parse_credits  # noqa: PLC0415 - imported on use, so that --help stays fast

    return parse_credits(text)


def read_concurrency(text: str) -> int:
    """Parse a number of jobs; return 0 for ``auto``."""
    if text == AUTO:
        return 0
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_AT_ONCE):
        raise typer.BadParameter(f"{text!r} is neither auto nor a number from 1 to {MOST_AT_ONCE}")
    return int(text)


def read_rate(text: str) -> float:
    """Parse a rate per second, a number above 0."""
    rate = float(text) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII) else 0.0
    if rate <= 0:
        raise typer.BadParameter(f"{text!r} is not a number above 0, such as 4 or 0.5")
    return rate


def read_variables(assignments: Sequence[str]) -> dict[str, str]:
    """Parse the ``name=value`` pairs of ``--var``; the last of a name wins.

    Raises ``UserError`` if a pair is invalid.
    """
    variables = {}
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not sign or not name.strip():
            raise UserError(f"--var: {assignment!r} is not of the form name=value", hint="--var brand=Acme")
        variables[name.strip()] = value
    return variables
