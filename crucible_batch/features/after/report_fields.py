"""The counts of ``after`` in a report."""

from __future__ import annotations

from collections.abc import Mapping

from crucible_batch.features.after.note import noted_counts
from crucible_batch.journal import Journal


def fields(journal: Journal) -> Mapping[str, object]:
    """Return the field of the report."""
    return {"after": noted_counts(journal)}
