"""The ``Retry-After`` header, read strictly (RFC 9110, 10.2.3)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_SECONDS: Final = re.compile(r"[0-9]{1,4000}")  # ASCII only: int() would take any script's digits, signs and blanks
_DATE: Final = re.compile(  # the one form that may be sent; the obsolete ones name no zone or no century
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} "
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [1-9][0-9]{3} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
)


def parse_retry_after(value: str | None, *, date: str | None, now: datetime, cap_s: float) -> float | None:
    """Return the seconds to wait, within 0 and ``cap_s``; None where the header is absent or nonsense.

    ``date`` is the ``Date`` header of the same answer: a date is taken relative to it, so that our clock may be
    wrong. ``now`` (aware) serves where the answer has none.
    """
    if value is None:
        return None
    value = value.strip(" \t")
    if _SECONDS.fullmatch(value):
        return min(float(int(value)), cap_s) if len(value) < 16 else cap_s
    until = _parse_date(value)
    if until is None:
        return None
    since = _parse_date(date) if date is not None else None
    return min(max((until - (since or now)).total_seconds(), 0.0), cap_s)


def _parse_date(value: str) -> datetime | None:
    if not _DATE.fullmatch(value.strip(" \t")):
        return None
    try:
        return parsedate_to_datetime(value).replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # such as February 31st
        return None
