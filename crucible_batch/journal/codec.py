"""Domain values to JSON and back, and the checks of a column's type. Fields are a file format: add, never rename."""

from __future__ import annotations

from typing import Any, Final, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError

from crucible_batch.errors import JournalError

_FIRST_MOMENT: Final = -62_135_596_800.0
_END_OF_TIME: Final = 253_402_300_800.0
"""The years 1 to 9999, the range of ``datetime``. A wrong clock may be before 1970."""


def text(value: object, what: str) -> str:
    """Return a column's text. Raises ``JournalError`` for any other type."""
    return value if isinstance(value, str) else refuse(what)


def moment(value: object, what: str) -> float:
    """Return a column's time. Raises ``JournalError`` for one outside the range of ``datetime``."""
    return float(value) if isinstance(value, int | float) and is_moment(value) else refuse(what)


def is_moment(value: float) -> bool:
    """Whether a time is within the range of ``datetime``."""
    return _FIRST_MOMENT <= value < _END_OF_TIME  # false of NaN


def refuse(what: str) -> NoReturn:
    """Raise ``JournalError`` for a value that can't be read."""
    raise JournalError(
        f"the journal holds a {what} that can't be read",
        hint="restore the run directory from a copy, or run with another --run-id",
    )


T = TypeVar("T")

# Building an adapter costs milliseconds, using one microseconds.
_ADAPTERS: dict[object, TypeAdapter[Any]] = {}


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def encode(value: object) -> str:
    """Write a frozen dataclass of the domain as JSON; Decimals become text."""
    return _adapter(type(value)).dump_json(value).decode()


def decode(kind: type[T], body: object) -> T:
    """Read a value of ``kind`` back. Raises ``JournalError`` where the text isn't one."""
    written = text(body, kind.__name__)
    try:
        value: T = _adapter(kind).validate_json(written)
    except ValidationError as error:
        raise JournalError(
            f"the journal holds a {kind.__name__} that can't be read: {error.errors()[0]['msg']}",
            hint="restore the run directory from a copy, or run with another --run-id",
        ) from error
    return value
