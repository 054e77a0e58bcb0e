"""The note about the shards of a run directory in its journal: what is set aside for them, and which are merged."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from crucible_batch.domain.credits import format_credits
from crucible_batch.domain.sharding import OutstandingShards
from crucible_batch.errors import JournalError, ShardsOutstandingError
from crucible_batch.journal import Journal

_SHARDS = "shards"
_NAMED = 10
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


def refuse_if_outstanding(directory: Path) -> None:
    """Raise ``ShardsOutstandingError`` if credits of a run directory are set aside for shards that were not merged.

    Does nothing without a journal.
    """
    if not Journal.exists(directory):
        return
    with Journal.read(directory) as journal:
        shards = noted_shards(journal)
    if shards is not None and shards.missing:
        raise ShardsOutstandingError(directory, described(shards))


def described(shards: OutstandingShards) -> str:
    """Return which shards were not merged, and what is set aside for them, as text."""
    missing = shards.missing
    numbers = ", ".join(map(str, missing[:_NAMED])) + (f" and {len(missing) - _NAMED} more" if missing[_NAMED:] else "")
    return (
        f"shard{'s' if len(missing) > 1 else ''} {numbers} of {len(shards.allowances)} of plan"
        f" {shards.plan_digest[:8]}, for which {format_credits(shards.set_aside)} credits are set aside"
    )
