"""What a journal notes about the choice of the newest run."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from crucible_batch.journal import Journal

_NAME = "sample"


@dataclass(frozen=True, slots=True)
class Tried:
    """Which jobs were tried: ``option`` with ``number``, among those that ``only`` takes."""

    option: str
    number: int
    only: tuple[str, ...]


_TRIED = TypeAdapter(Tried)


def note_tried(journal: Journal, tried: Tried | None) -> None:
    """Store the choice in the journal, in place of that of the run before."""
    if tried is not None:
        journal.note(_NAME, _TRIED.dump_json(tried).decode())
    elif journal.noted(_NAME):
        journal.note(_NAME, "")


def noted_tried(journal: Journal) -> Tried | None:
    """Return the choice of the newest run; None if it took all jobs."""
    try:
        return _TRIED.validate_json(journal.noted(_NAME) or "null")
    except ValidationError:
        return None
