"""The takes of a run in the head of its report."""

from __future__ import annotations

from collections.abc import Mapping

from crucible_batch.journal import Journal
from crucible_batch.runs.generations import generations_of


def fields(journal: Journal) -> Mapping[str, object]:
    """Return the field of the report: how many outputs are kept beside those that count."""
    if not journal.has_generations():
        return {}
    generations, takes = generations_of(journal), 0
    for planned in journal.plan():
        found = generations(planned)
        outputs = sum(len(job.outputs) for _, job in found.others)
        takes += outputs - len(found.current)
    return {"takes": takes}
