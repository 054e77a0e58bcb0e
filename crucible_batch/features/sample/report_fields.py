"""What the whole would cost, in the report of a run of a few jobs."""

from __future__ import annotations

from collections.abc import Mapping

from crucible_batch.features.sample.note import noted_tried
from crucible_batch.features.sample.whole import whole_of
from crucible_batch.journal import Journal


def fields(journal: Journal) -> Mapping[str, object]:
    """Return the field of the report."""
    tried = noted_tried(journal)
    return {"whole": None if tried is None else whole_of(journal, tried)}
