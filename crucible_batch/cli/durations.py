"""Durations as people write them: ``90s``, ``5m``, ``1h30m``, or plain seconds; and how we write them back."""

from __future__ import annotations

import re

_UNITS_S = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_WRITTEN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)
_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
LONGEST_S = 365 * 86_400.0


def parse_duration(text: str) -> float:
    """Read a duration into seconds. Units go from large to small, each once; a bare number is seconds.

    Raises ``ValueError`` for anything else, for zero and for more than a year.
    """
    seconds = 0.0
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    elif text and (match := _WRITTEN.fullmatch(text)):
        seconds = sum(float(part) * unit for part, unit in zip(match.groups("0"), _UNITS_S.values(), strict=True))
    if not 0 < seconds <= LONGEST_S:
        raise ValueError(f"{text!r} is no duration; write one like 90s, 5m, 2h, 1h30m or plain seconds")
    return seconds


def format_duration(seconds: float, *, whole: bool = False) -> str:
    """Write a duration for people, in at most two units: ``4.2 s``, ``38 s``, ``3 min 20 s``, ``2 h 5 min``.

    ``whole`` leaves out tenths: for what is an estimate anyway.
    """
    if seconds < 10 and not whole:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    minutes, rest = divmod(rounded, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
