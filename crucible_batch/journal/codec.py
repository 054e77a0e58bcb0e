"""Values of the core to JSON and back. The fields written here are a file format: add, never rename."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from crucible_batch.errors import JournalError
from crucible_batch.journal.rows import text

T = TypeVar("T")

# Building an adapter costs milliseconds, using one microseconds.
_ADAPTERS: dict[object, TypeAdapter[Any]] = {}


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def encode(value: object) -> str:
    """Write a frozen dataclass of the core as JSON; Decimals become text."""
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
