"""The fields of a report that are not those of every run, by the notes of its journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from crucible_batch.features.periods.note import period_field
from crucible_batch.features.stages.note import stage_fields
from crucible_batch.journal import Journal

FIELDS: Sequence[Callable[[Journal], Mapping[str, object]]] = (period_field, stage_fields)
"""Each returns the values of its fields of ``ReportHead``."""


def noted_fields(journal: Journal) -> dict[str, object]:
    """Return the values of all these fields."""
    found: dict[str, object] = {}
    for fields in FIELDS:
        found |= fields(journal)
    return found
