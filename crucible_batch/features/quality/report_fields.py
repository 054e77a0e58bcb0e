"""The totals of the checks in a report."""

from __future__ import annotations

from collections.abc import Mapping

from crucible_batch.features.quality.note import noted_totals
from crucible_batch.journal import Journal


def fields(journal: Journal) -> Mapping[str, object]:
    """Return the field of the report."""
    return {"checks": noted_totals(journal)}
