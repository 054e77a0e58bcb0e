"""Sizes as people write them: ``256MB``, ``1GiB``, ``100MP``, or a plain number of bytes or pixels."""

from __future__ import annotations

import re

_WRITTEN = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([A-Za-z]*)", re.ASCII)
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_PIXELS = {"": 1, "px": 1, "kp": 10**3, "mp": 10**6, "k": 10**3, "m": 10**6}


def parse_bytes(text: str) -> int:
    """Read a number of bytes; ``MB`` is a million of them, ``MiB`` 1024². Raises ``ValueError``."""
    return _parse(text, _BYTES, "write a size like 256MB, 1GiB or a number of bytes")


def parse_pixels(text: str) -> int:
    """Read a number of pixels; ``MP`` is a million of them. Raises ``ValueError``."""
    return _parse(text, _PIXELS, "write a number of pixels like 100MP or 25000000")


def _parse(text: str, units: dict[str, int], how: str) -> int:
    match = _WRITTEN.fullmatch(text)
    unit = units.get(match[2].lower()) if match else None
    if match is None or unit is None or (count := int(float(match[1]) * unit)) < 1:
        raise ValueError(f"{text!r} is none; {how}")
    return count
