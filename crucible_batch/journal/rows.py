"""What a row of the journal may hold: a file that was damaged or edited ends in a clear error, never in a wrong figure.

SQLite takes any type in any column, and JSON any number.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from crucible_batch.core.credits import MAX_EXPONENT, Credits
from crucible_batch.core.events import (
    Accepted,
    Created,
    Deleted,
    Event,
    Failed,
    Held,
    Intended,
    Missed,
    Moved,
    Prepared,
    Repriced,
    Saved,
    Sent,
    Succeeded,
)
from crucible_batch.errors import JournalError

_FIRST_MOMENT: Final = -62_135_596_800.0
_END_OF_TIME: Final = 253_402_300_800.0
"""The years 1 to 9999, of which dates can be made. A clock that is wrong may well show one before 1970."""
_MOST: Final = 2**53
_SHA256: Final = re.compile(r"[0-9a-f]{1,64}")


def text(value: object, what: str) -> str:
    """Return a column's text. Raises ``JournalError`` for any other type."""
    return value if isinstance(value, str) else _refuse(what)


def moment(value: object, what: str) -> float:
    """Return a column's time. Raises ``JournalError`` for what no date can be made of."""
    return float(value) if isinstance(value, int | float) and _is_moment(value) else _refuse(what)


def check_event(event: Event) -> None:
    """Raise ``JournalError`` for an event with a value that none of ours can have."""
    if not _is_moment(event.at) or not _is_plausible(event):
        _refuse(f"{type(event).__name__} event")


def _is_plausible(event: Event) -> bool:
    match event:
        case Held():
            return _is_amount(event.credits) and _is_count(event.attempt)
        case Prepared() | Accepted() | Repriced() | Intended() | Created():
            return _is_amount(event.credits)
        case Deleted():
            return _is_amount(event.rebate)
        case Succeeded() | Failed():
            is_counted = isinstance(event, Failed) or _is_count(event.outputs)
            return is_counted and (event.running_at is None or _is_moment(event.running_at))
        case Saved():
            counts = (event.index, event.byte_size, event.width, event.height)
            return all(map(_is_count, counts)) and _is_digest(event) and (event.sent is None or _is_digest(event.sent))
        case Missed() | Moved():
            return _is_count(event.index)
        case _:
            return True


def _is_moment(value: float) -> bool:
    return _FIRST_MOMENT <= value < _END_OF_TIME  # false of NaN


def _is_count(value: int) -> bool:
    return 0 <= value < _MOST


def _is_amount(value: Credits) -> bool:
    return value.is_finite() and value >= 0 and value.adjusted() < MAX_EXPONENT


def _is_digest(of: Saved | Sent) -> bool:
    return _is_count(of.byte_size) and _SHA256.fullmatch(of.sha256) is not None


def _refuse(what: str) -> NoReturn:
    raise JournalError(
        f"the journal holds a {what} that can't be read",
        hint="restore the run directory from a copy, or run with another --run-id",
    )
