"""Plain YAML scalars by the core schema of YAML 1.2.

PyYAML follows YAML 1.1, where ``no`` is False, ``010`` is 8, ``12:30`` is 750 and ``1e3`` is text.
Here ``no`` and ``12:30`` are text, ``010`` is ten and ``1e3`` is a number. ``misreading`` warns
about such values.
"""

from __future__ import annotations

import math
import re

Scalar = str | int | float | bool | None

# A plain scalar that begins with any other character is text in both versions, so most scalars skip
# the patterns below.
MAYBE_TYPED = frozenset("0123456789+-.~nNtTfFyYoO")
_WORDS: dict[str, Scalar] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

# 64-bit seeds have 20 digits; Python refuses to convert more than 4,300.
MAX_NUMBER_LENGTH = 100

_SWITCHES = frozenset({"yes", "no", "on", "off", "y", "n"})
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")


def resolve(text: str) -> Scalar:
    """Return the value of an unquoted scalar.

    Raises ``ValueError``, with a message for the manifest's author, for NaN, infinity and numbers
    that are too long or too large.
    """
    if text and text[0] not in MAYBE_TYPED:
        return text
    if text in _WORDS:
        return _WORDS[text]
    for pattern, base in ((_DECIMAL, 10), (_OCTAL, 8), (_HEXADECIMAL, 16)):
        if pattern.fullmatch(text):
            _check_length(text)
            digits = text if base == 10 else text[2:]
            return int(digits, base)
    if _FLOAT.fullmatch(text):
        _check_length(text)
        return _finite(text)
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a valid number; put it in quotes if it is text")
    return text


def _check_length(text: str) -> None:
    if len(text) > MAX_NUMBER_LENGTH:
        raise ValueError(
            f"a number of {len(text)} characters is too long; put it in quotes if it is text"
        )


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text} is too large; put it in quotes if it is text")
    return number


def misreading(text: str) -> str | None:
    """Return a warning if YAML 1.1 gives an unquoted scalar another value, otherwise None."""
    if text.lower() in _SWITCHES:
        return (
            f"{text} is read as the text {text!r}; "
            "write true or false if it is a boolean, or put it in quotes"
        )
    if _LEADING_ZERO.fullmatch(text):
        return f"{text} is read as the number {int(text)}; put it in quotes to keep the zeros"
    return None
