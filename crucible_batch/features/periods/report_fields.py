"""The budget of a period in a report."""

from __future__ import annotations

from collections.abc import Mapping

from crucible_batch.features.periods.note import noted_period
from crucible_batch.journal import Journal


def fields(journal: Journal) -> Mapping[str, object]:
    """Return the field of the report."""
    return {"period": noted_period(journal)}
