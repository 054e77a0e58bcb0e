"""Concurrency, durations and choices, as written in options and manifests."""

from __future__ import annotations

import enum
import re
from typing import Final, Literal

AUTO: Final = "auto"
"""The concurrency that is adapted to what the gateway accepts."""
MOST_AT_ONCE = 1000

_UNITS_S = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_WRITTEN_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)
_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
LONGEST_S = 365 * 86_400.0

LOOPBACK = "127.0.0.1"


class IfRunning(enum.StrEnum):
    """What a run does if another run of the same manifest is active."""

    FAIL = "fail"
    WAIT = "wait"
    SKIP = "skip"


class RunEvent(enum.StrEnum):
    """What happened to a run, as ``on`` of a manifest names it."""

    SUCCESS = "success"
    PARTIAL = "partial"
    BLOCKED = "blocked"
    FAILURE = "failure"


def parse_concurrency(text: str) -> int | Literal["auto"]:
    """Parse a number of jobs, or ``auto``. Raises ``ValueError`` for anything else."""
    if text == AUTO:
        return AUTO
    is_number = text.isascii() and text.isdigit()
    if not is_number or not 1 <= int(text) <= MOST_AT_ONCE:
        raise ValueError(f"{text!r} is neither auto nor a number from 1 to {MOST_AT_ONCE}")
    return int(text)


def parse_duration(text: str) -> float:
    """Parse a duration to seconds.

    Units go from large to small, each once; a bare number is in seconds. Raises ``ValueError`` for
    anything else, for zero and for more than a year.
    """
    seconds = 0.0
    written = _WRITTEN_DURATION.fullmatch(text)
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    elif written is not None:
        numbers = zip(written.groups("0"), _UNITS_S.values(), strict=True)
        seconds = sum(float(number) * unit_s for number, unit_s in numbers)
    if not 0 < seconds <= LONGEST_S:
        raise ValueError(
            f"{text!r} is not a duration; write one like 90s, 5m, 2h, 1h30m or plain seconds"
        )
    return seconds
