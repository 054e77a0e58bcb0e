"""Parsers of option values."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from decimal import Decimal
from functools import wraps
from typing import TypeVar

import typer

from crucible_batch.option_values import parse_duration

_Value = TypeVar("_Value")
_WRITTEN_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([A-Za-z]*)", re.ASCII)
_BYTES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
_PIXELS = {"": 1, "px": 1, "kp": 10**3, "mp": 10**6, "k": 10**3, "m": 10**6}


def option_parser(parse: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """Return a parser of an option's text for Typer.

    It raises ``typer.BadParameter`` where ``parse`` raises ``ValueError``.
    """

    @wraps(parse)
    def read(text: str) -> _Value:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return read


def read_credits(text: str) -> Decimal:
    # Imported on use, so that --help stays fast.
    from crucible_batch.core.credits import parse_credits  # noqa: PLC0415

    try:
        return parse_credits(text)
    except ValueError:
        if "," in text:
            raise ValueError(f"{text!r} has a comma; write 12.5 or 1250") from None
        raise


def parse_host(text: str) -> str:
    """Parse a host name or an IP address. Raises ``ValueError`` for a URL, or if it has a port."""
    from ipaddress import ip_address  # noqa: PLC0415 - few commands are given a host

    host = text.removeprefix("[").removesuffix("]")
    with contextlib.suppress(ValueError):
        return str(ip_address(host))
    if not host or re.search(r"[\s/:@?#\[\]]", host):
        raise ValueError(
            f"{text!r} is not a host; write a name or an address only, such as storage.example.com"
        )
    return host


def read_rate(text: str) -> float:
    """Parse a rate per second, a number above 0."""
    rate = 0.0
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        rate = float(text)
    if rate <= 0:
        raise typer.BadParameter(f"{text!r} is not a number above 0, such as 4 or 0.5")
    return rate


def parse_wait(text: str) -> float:
    """Parse a duration that may be ``0``: not at all.

    Raises ``ValueError`` as ``parse_duration`` does.
    """
    if text in {"0", "0s"}:
        return 0.0
    return parse_duration(text)


def parse_bytes(text: str) -> int:
    """Parse a number of bytes; ``MB`` is a million, ``MiB`` 1024².

    Raises ``ValueError`` if it is invalid.
    """
    return _parse(text, _BYTES, "write a size like 256MB, 1GiB or a number of bytes")


def parse_pixels(text: str) -> int:
    """Parse a number of pixels; ``MP`` is a million. Raises ``ValueError`` if it is invalid."""
    return _parse(text, _PIXELS, "write a number of pixels like 100MP or 25000000")


def _parse(text: str, units: dict[str, int], how: str) -> int:
    match = _WRITTEN_SIZE.fullmatch(text)
    if match is not None and match[2].lower() in units:
        count = int(float(match[1]) * units[match[2].lower()])
        if count >= 1:
            return count
    raise ValueError(f"{text!r} is not valid; {how}")
