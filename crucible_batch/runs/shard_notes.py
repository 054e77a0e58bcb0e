"""Notes about shards in journals.

That of the main run directory has what is set aside for its shards, and which of them are merged.
That of a shard's own directory names the shard.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from crucible_batch.core.credits import format_credits
from crucible_batch.core.redaction import listed
from crucible_batch.core.sharding import OutstandingShards, ShardOf
from crucible_batch.errors import JournalError
from crucible_batch.journal import Journal

T = TypeVar("T")
_SHARDS = "shards"
_NAMED = 10
_ADAPTER: TypeAdapter[OutstandingShards] = TypeAdapter(OutstandingShards)
_SHARD = "shard"
_SHARD_ADAPTER: TypeAdapter[ShardOf] = TypeAdapter(ShardOf)


def noted_shards(journal: Journal) -> OutstandingShards | None:
    """Return the shards of the directory's newest divided plan; None if no plan was divided.

    Raises ``JournalError`` if the note can't be read: what is set aside would be unknown.
    """
    return _noted(journal, _SHARDS, _ADAPTER, "shards")


def noted_in(directory: Path) -> OutstandingShards | None:
    """Return the shards of the newest divided plan of a run directory; None if no plan was divided,
    or is known."""
    if not Journal.exists(directory):
        return None
    with Journal.read(directory) as journal:
        return noted_shards(journal)


def outstanding_shards(journal: Journal) -> OutstandingShards | None:
    """Return the shards of the newest divided plan; None if all of them are merged, or no plan was
    divided."""
    shards = noted_shards(journal)
    if shards is None or not shards.missing:
        return None
    return shards


def note_shards(journal: Journal, shards: OutstandingShards | None) -> None:
    """Store the shards, replacing those of an earlier plan. None: no plan was divided."""
    text = ""
    if shards is not None:
        text = _ADAPTER.dump_json(shards).decode()
    journal.note(_SHARDS, text)


def noted_shard(journal: Journal) -> ShardOf | None:
    """Return the shard that a run directory belongs to; None if it is not that of a shard.

    Raises ``JournalError`` if the note can't be read.
    """
    return _noted(journal, _SHARD, _SHARD_ADAPTER, "the shard")


def _noted(journal: Journal, name: str, adapter: TypeAdapter[T], subject: str) -> T | None:
    text = journal.noted(name)
    if not text:
        return None
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        raise JournalError(
            f"the note about {subject} in {journal.path} can't be read",
            hint="restore the journal from a backup",
        ) from error


def note_shard(journal: Journal, shard: ShardOf) -> None:
    """Store which shard the run directory belongs to."""
    journal.note(_SHARD, _SHARD_ADAPTER.dump_json(shard).decode())


def describe_shards(shards: OutstandingShards) -> str:
    """Return which shards were not merged, and what is set aside for them, as text."""
    numbers = listed(list(map(str, shards.missing)), _NAMED)
    credits = format_credits(shards.set_aside)
    return f"{numbers} of {len(shards.allowances)}, with {credits} credits set aside"
