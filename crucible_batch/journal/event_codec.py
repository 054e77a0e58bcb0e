"""Events to rows and back, under the names of ``EVENT_NAMES``."""

from __future__ import annotations

from crucible_batch.core.events import EVENT_NAMES, Event, event_name
from crucible_batch.errors import JournalError
from crucible_batch.journal.codec import decode, encode
from crucible_batch.journal.event_check import check_event
from crucible_batch.journal.rows import text


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
