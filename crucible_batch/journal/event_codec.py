"""Conversion of events to and from rows, by the names in ``EVENT_NAMES``.

Their values are checked. The check is needed because JSON allows any number, and a file may be
damaged or edited.
"""

from __future__ import annotations

import re
from typing import Final

from crucible_batch.core.events import (
    EVENT_NAMES,
    Consumed,
    Event,
    Failed,
    Held,
    Missed,
    Refunded,
    RefundForgotten,
    Relocated,
    Saved,
    Sent,
    Succeeded,
    event_name,
)
from crucible_batch.core.struct_json import StructReader, to_json
from crucible_batch.errors import JournalError
from crucible_batch.journal.codec import is_moment, refuse, text

_MOST = 2**53
_READERS: Final = {name: StructReader(kind) for name, kind in EVENT_NAMES.items()}
_SHA256: Final = re.compile(r"[0-9a-f]{1,64}")


def _check_event(event: Event) -> None:
    """Raise ``JournalError`` for an event with a value that this program never writes.

    Amounts are not checked here: ``StructReader`` refuses wrong ones already.
    """
    if not is_moment(event.at) or not _is_plausible(event):
        refuse(f"{type(event).__name__} event")


def _is_plausible(event: Event) -> bool:
    match event:
        case Held() | Refunded() | Consumed() | RefundForgotten():
            return _is_count(event.attempt)
        case Succeeded():
            return _is_count(event.outputs) and _is_moment_or_none(event.running_at)
        case Failed():
            return _is_moment_or_none(event.running_at)
        case Saved():
            counts = (event.index, event.byte_size, event.width, event.height)
            if not all(map(_is_count, counts)) or not _is_digest(event):
                return False
            return event.sent is None or _is_digest(event.sent)
        case Missed() | Relocated():
            return _is_count(event.index)
        case _:
            return True


def _is_moment_or_none(value: float | None) -> bool:
    return value is None or is_moment(value)


def _is_count(value: int) -> bool:
    return 0 <= value < _MOST


def _is_digest(of: Saved | Sent) -> bool:
    return _is_count(of.byte_size) and _SHA256.fullmatch(of.sha256) is not None


def encode_event(event: Event) -> tuple[str, str]:
    """Return an event's type and body."""
    return event_name(event), to_json(event).decode()


def decode_event(kind: object, body: object) -> Event:
    """Return the event of a row.

    Raises ``JournalError`` for an unknown type or impossible values.
    """
    reader = _READERS.get(text(kind, "event type"))
    if reader is None:
        raise JournalError(
            f"the journal contains an event of an unknown type: {kind!r}",
            hint="use the release of crucible-batch that wrote it, or a newer one",
        )
    try:
        event = reader.read(text(body, f"{kind} event"))
    except ValueError as error:
        refuse(f"{kind} event: {error}")
    _check_event(event)
    return event
