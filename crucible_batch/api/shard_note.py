"""The note about the shards of a run directory in its journal: what is set aside for them, and which are merged."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from crucible_batch.domain.sharding import OutstandingShards
from crucible_batch.errors import JournalError
from crucible_batch.journal import Journal

_SHARDS = "shards"
_ADAPTER: TypeAdapter[OutstandingShards] = TypeAdapter(OutstandingShards)


def noted_shards(journal: Journal) -> OutstandingShards | None:
    """Return the shards of the directory's newest divided plan; None if no plan was divided.

    Raises ``JournalError`` if the note can't be read: what is set aside would be unknown.
    """
    text = journal.noted(_SHARDS)
    if text is None:
        return None
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        raise JournalError(
            f"the note about shards in {journal.path} can't be read", hint="restore the journal from a backup"
        ) from error


def note_shards(journal: Journal, shards: OutstandingShards) -> None:
    """Store the shards, replacing those of an earlier plan."""
    journal.note(_SHARDS, _ADAPTER.dump_json(shards).decode())
