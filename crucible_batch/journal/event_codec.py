"""Events to rows and back. The type names written here are a file format: add, never rename."""

from __future__ import annotations

from typing import get_args

from crucible_batch.core.events import AssetEvent, Event, JobEvent
from crucible_batch.errors import JournalError
from crucible_batch.journal.codec import decode, encode
from crucible_batch.journal.event_check import check_event
from crucible_batch.journal.rows import text

_EVENT_TYPES: dict[str, type[Event]] = {kind.__name__: kind for kind in (*get_args(JobEvent), *get_args(AssetEvent))}


def encode_event(event: Event) -> tuple[str, str]:
    """Return an event's type and body."""
    return type(event).__name__, encode(event)


def decode_event(kind: object, body: object) -> Event:
    """Read an event back. Raises ``JournalError`` for one that this release doesn't know."""
    known = _EVENT_TYPES.get(text(kind, "kind of event"))
    if known is None:
        raise JournalError(
            f"the journal holds an event of a kind that this release doesn't know: {kind!r}",
            hint="use the release that wrote it, or a newer one",
        )
    event = decode(known, body)
    check_event(event)
    return event
