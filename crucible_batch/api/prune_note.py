"""The note in the journal of a run whose outputs were deleted by ``prune``, completely or in part."""

from __future__ import annotations

from pathlib import Path

from crucible_batch.errors import RunPrunedError
from crucible_batch.journal import Journal

PRUNED = "pruned"
"""The name under which the journal stores the day of the pruning; empty text means that it is not pruned any more."""


def refuse_if_pruned(directory: Path) -> None:
    """Raise ``RunPrunedError`` if the outputs of a run directory were deleted. Does nothing without a journal."""
    if not Journal.exists(directory):
        return
    with Journal.read(directory) as journal:
        if journal.is_begun() and (day := pruned_on(journal)):
            raise RunPrunedError(directory, day)


def pruned_on(journal: Journal) -> str | None:
    """Return the day of the pruning, such as "2026-11-29"; None if the outputs were not deleted."""
    return journal.noted(PRUNED) or None


def forget_pruning(journal: Journal) -> None:
    """Remove the note, since the outputs are about to be downloaded again."""
    if journal.noted(PRUNED):
        journal.note(PRUNED, "")
