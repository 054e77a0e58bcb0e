"""What all jobs would cost, in the report of a run of a few of them."""

from __future__ import annotations

from collections.abc import Mapping

from crucible_batch.features.sample.estimate import estimate_of
from crucible_batch.features.sample.note import noted_tried
from crucible_batch.journal import Journal


def fields(journal: Journal) -> Mapping[str, object]:
    """Return the field of the report."""
    tried = noted_tried(journal)
    return {"all_jobs": None if tried is None else estimate_of(journal, tried)}
