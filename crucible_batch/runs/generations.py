"""The generations of the jobs in a journal: which outputs of a job count, and what others it has.

A job is asked for again under another key if what came was rejected. Its earlier generations have
left the plan; their outputs are takes.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from crucible_batch.core.identity import content_of
from crucible_batch.core.plan import PlannedJob
from crucible_batch.journal import Journal
from crucible_batch.report import Generations, GenerationsOf

_NAME = "current outputs"
_CURRENT: TypeAdapter[dict[str, dict[int, int]]] = TypeAdapter(dict[str, dict[int, int]])


def generations_of(journal: Journal) -> GenerationsOf:
    """Return a function that returns the generations of a job of an open journal.

    The journal is read at its first call.
    """
    read: list[dict[str, dict[int, int]] | None] = []

    def generations(planned: PlannedJob) -> Generations:
        if not read:
            read.append(_noted(journal) if journal.has_generations() else None)
        current = read[0]
        if current is None:
            return Generations()
        chosen = current.get(content_of(planned.identity), {})
        return Generations(journal.other_generations(planned.identity), chosen)

    return generations


def note_current(journal: Journal, current: Mapping[str, Mapping[int, int]]) -> None:
    """Store the generation whose output counts, by content and number of the output, where it is
    not that of the job in the plan."""
    if current or journal.noted(_NAME):
        kept = {content: dict(chosen) for content, chosen in current.items()}
        journal.note(_NAME, _CURRENT.dump_json(kept).decode())


def _noted(journal: Journal) -> dict[str, dict[int, int]]:
    try:
        return _CURRENT.validate_json(journal.noted(_NAME) or "{}")
    except ValidationError:
        return {}
