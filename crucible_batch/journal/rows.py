"""What a column of the journal may hold: SQLite takes any type in any column."""

from __future__ import annotations

from typing import Final, NoReturn

from crucible_batch.errors import JournalError

_FIRST_MOMENT: Final = -62_135_596_800.0
_END_OF_TIME: Final = 253_402_300_800.0
"""The years 1 to 9999, of which dates can be made. A clock that is wrong may well show one before 1970."""


def text(value: object, what: str) -> str:
    """Return a column's text. Raises ``JournalError`` for any other type."""
    return value if isinstance(value, str) else refuse(what)


def moment(value: object, what: str) -> float:
    """Return a column's time. Raises ``JournalError`` for what no date can be made of."""
    return float(value) if isinstance(value, int | float) and is_moment(value) else refuse(what)


def is_moment(value: float) -> bool:
    """Whether a date can be made of it."""
    return _FIRST_MOMENT <= value < _END_OF_TIME  # false of NaN


def refuse(what: str) -> NoReturn:
    """Raise the ``JournalError`` for something that can't be read."""
    raise JournalError(
        f"the journal holds a {what} that can't be read",
        hint="restore the run directory from a copy, or run with another --run-id",
    )
