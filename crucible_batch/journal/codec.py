"""Conversion of domain values to and from JSON, and type checks of columns.

The domain's field names are part of the file format: fields may be added, but never renamed.
"""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError

from crucible_batch.core.moments import END_OF_TIME, FIRST_MOMENT
from crucible_batch.errors import JournalError


def text(value: object, what: str) -> str:
    """Return ``value`` if it is text. Raises ``JournalError`` otherwise."""
    if not isinstance(value, str):
        refuse(what)
    return value


def moment(value: object, what: str) -> float:
    """Return a Unix time.

    Raises ``JournalError`` if it isn't a number within the range of ``datetime``.
    """
    # The comparison is false for NaN.
    if not isinstance(value, int | float) or not FIRST_MOMENT <= value < END_OF_TIME:
        refuse(what)
    return float(value)


def refuse(what: str) -> NoReturn:
    """Raise ``JournalError`` for a value that can't be read."""
    raise JournalError(
        f"the journal contains an invalid {what}",
        hint=(
            "restore the run directory from a backup, "
            "or use another --run-id (which buys its jobs again)"
        ),
    )


T = TypeVar("T")

# Creating an adapter takes milliseconds, using one microseconds.
_ADAPTERS: dict[object, TypeAdapter[Any]] = {}


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def encode(value: object) -> str:
    """Return a frozen dataclass of the domain as JSON, with Decimals as text."""
    return _adapter(type(value)).dump_json(value).decode()


def decode(kind: type[T], body: object) -> T:
    """Parse the JSON of a value of ``kind``. Raises ``JournalError`` if it isn't one."""
    written = text(body, kind.__name__)
    try:
        value: T = _adapter(kind).validate_json(written)
    except ValidationError as error:
        refuse(f"{kind.__name__}: {error.errors()[0]['msg']}")
    return value
