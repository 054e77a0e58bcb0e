"""Formatting of counts, durations and estimates."""

from __future__ import annotations

from decimal import Decimal

from crucible_batch.core.credits import format_credits


def counted(number: int, noun: str) -> str:
    """Return a count with its noun: ``1 job``, ``1,200 jobs``."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}s"


def paid_before(reused: Decimal) -> str:
    """Return the credits of reused jobs in words: of the budget, but not paid again."""
    return f"{format_credits(reused)} for reused jobs, paid before"


def format_duration(seconds: float, *, whole: bool = False) -> str:
    """Format a duration in at most two units: ``4.2 s``, ``38 s``, ``2 h 5 min``, ``9 d 4 h``.

    Estimates are given without tenths of a second.
    """
    if seconds < 10 and not whole:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    minutes, rest = divmod(rounded, 60)
    if minutes >= 10:
        rest = 0
    if minutes < 60:
        return _two_units(minutes, "min", rest, "s")
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return _two_units(days, "d", hours, "h")
    return _two_units(hours, "h", minutes, "min")


def _two_units(number: int, unit: str, rest: int, rest_unit: str) -> str:
    if not rest:
        return f"{number} {unit}"
    return f"{number} {unit} {rest} {rest_unit}"


_ESTIMATE_UNITS = (("s", 1, 0, 90.0), ("min", 60, 0, 90 * 60.0), ("h", 3600, 1, float("inf")))
"""The units of an estimate: name, seconds, digits after the point, and the limit in seconds below
which the unit is used.
"""


def format_left(likely_s: float, low_s: float, high_s: float | None) -> str:
    """Format an estimate with its bounds in one unit: ``~4 min (3-6)``, ``~8 min (4 or more)``."""
    unit, size, digits, _ = next(each for each in _ESTIMATE_UNITS if likely_s < each[3])

    def figure(seconds: float) -> str:
        if size == 1 and seconds >= 20:
            return f"{5 * round(seconds / 5)}"
        return f"{max(seconds / size, 10.0**-digits):.{digits}f}"

    likely, low = f"~{figure(likely_s)} {unit}", figure(low_s)
    if high_s is None:
        return f"{likely} ({low} or more)"
    high = figure(high_s)
    if low == high:
        return likely
    return f"{likely} ({low}-{high})"


def held_words(held: Decimal, refunds: Decimal) -> str:
    """Return the credits that are held in words, with the part for refunds that were not seen."""
    words = f"{format_credits(held)} held"
    if refunds:
        words += f" ({format_credits(refunds)} until refunds are seen)"
    return words
