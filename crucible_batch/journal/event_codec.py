"""Conversion of events to and from rows, by the names in ``EVENT_NAMES``."""

from __future__ import annotations

from typing import Final

from crucible_batch.core.events import EVENT_NAMES, Event, event_name
from crucible_batch.core.struct_json import StructReader, to_json
from crucible_batch.errors import JournalError
from crucible_batch.journal.codec import refuse, text

_READERS: Final[dict[object, StructReader[Event]]] = {
    name: StructReader(kind) for name, kind in EVENT_NAMES.items()
}


def encode_event(event: Event) -> tuple[str, str]:
    """Return an event's type and body."""
    return event_name(event), to_json(event).decode()


def decode_event(kind: object, body: object) -> Event:
    """Return the event of a row.

    Raises ``JournalError`` for an unknown type or impossible values.
    """
    reader = _READERS.get(kind)
    if reader is None:
        raise JournalError(
            f"the journal contains an event of an unknown type: {text(kind, 'event type')!r}",
            hint="use the release of crucible-batch that wrote it, or a newer one",
        )
    if not isinstance(body, str):
        refuse(f"{kind} event")
    try:
        return reader.read(body)
    except ValueError as error:
        refuse(f"{kind} event: {error}")
