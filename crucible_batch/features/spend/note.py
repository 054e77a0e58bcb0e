"""The tags of a run directory, as its journal notes them: those of the newest run."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from crucible_batch.journal import Journal

NAME = "tags"
_TAGS = TypeAdapter(tuple[str, ...])


def note_tags(journal: Journal, tags: Sequence[str]) -> None:
    """Store the tags, in place of those of the run before."""
    text = _TAGS.dump_json(tuple(tags)).decode() if tags else ""
    if text != (journal.noted(NAME) or ""):
        journal.note(NAME, text)


def noted_tags(journal: Journal) -> tuple[str, ...]:
    """Return the tags, each once; none if the note can't be read."""
    try:
        found = _TAGS.validate_json(journal.noted(NAME) or "[]")
    except ValidationError:
        return ()
    return tuple(dict.fromkeys(found))
