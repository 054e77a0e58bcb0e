"""Values of the core to JSON and back. The fields written here are a file format: add, never rename."""

from __future__ import annotations

import re
from typing import Any, Final, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError

from crucible_batch.domain.credits import MAX_STORED_EXPONENT, Credits
from crucible_batch.domain.events import (
    EVENT_NAMES,
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
    event_name,
)
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


_MOST: Final = 2**53
_SHA256: Final = re.compile(r"[0-9a-f]{1,64}")


def check_event(event: Event) -> None:
    """Raise ``JournalError`` for an event with a value that none of ours can have."""
    if not is_moment(event.at) or not _is_plausible(event):
        refuse(f"{type(event).__name__} event")


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
            return is_counted and (event.running_at is None or is_moment(event.running_at))
        case Saved():
            counts = (event.index, event.byte_size, event.width, event.height)
            return all(map(_is_count, counts)) and _is_digest(event) and (event.sent is None or _is_digest(event.sent))
        case Missed() | Moved():
            return _is_count(event.index)
        case _:
            return True


def _is_count(value: int) -> bool:
    return 0 <= value < _MOST


def _is_amount(value: Credits) -> bool:
    return value.is_finite() and value >= 0 and value.adjusted() < MAX_STORED_EXPONENT


def _is_digest(of: Saved | Sent) -> bool:
    return _is_count(of.byte_size) and _SHA256.fullmatch(of.sha256) is not None


def encode_event(event: Event) -> tuple[str, str]:
    """Return an event's type and body."""
    return event_name(event), encode(event)


def decode_event(kind: object, body: object) -> Event:
    """Read an event back. Raises ``JournalError`` for one that this release doesn't know."""
    known = EVENT_NAMES.get(text(kind, "kind of event"))
    if known is None:
        raise JournalError(
            f"the journal holds an event of a kind that this release doesn't know: {kind!r}",
            hint="use the release that wrote it, or a newer one",
        )
    event = decode(known, body)
    check_event(event)
    return event
