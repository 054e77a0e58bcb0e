"""Events and plans to JSON and back. The type names and fields written here are a file format: add, never rename."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError

from crucible_batch.core.events import AssetEvent, Event, JobEvent
from crucible_batch.errors import JournalError

T = TypeVar("T")

_EVENT_TYPES: dict[str, type[Event]] = {kind.__name__: kind for kind in (*get_args(JobEvent), *get_args(AssetEvent))}


# Building an adapter costs milliseconds, using one microseconds.
_ADAPTERS: dict[object, TypeAdapter[Any]] = {}


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def encode(value: object) -> str:
    """Write a frozen dataclass of the core as JSON; Decimals become text."""
    return _adapter(type(value)).dump_json(value).decode()


def decode(kind: type[T], body: str) -> T:
    """Read a value of ``kind`` back. Raises ``JournalError`` where the text isn't one."""
    try:
        value: T = _adapter(kind).validate_json(body)
    except ValidationError as error:
        raise JournalError(
            f"the journal holds a {kind.__name__} that can't be read: {error.errors()[0]['msg']}",
            hint="restore the run directory from a copy, or run with another --run-id",
        ) from error
    return value


def encode_event(event: Event) -> tuple[str, str]:
    """Return an event's type and body."""
    return type(event).__name__, encode(event)


def decode_event(kind: str, body: str) -> Event:
    """Read an event back. Raises ``JournalError`` for one that this release doesn't know."""
    known = _EVENT_TYPES.get(kind)
    if known is None:
        raise JournalError(
            f"the journal holds an event of a kind that this release doesn't know: {kind!r}",
            hint="use the release that wrote it, or a newer one",
        )
    return decode(known, body)
