"""The fields of a report that are not those of every run, by the notes of its journal."""

from __future__ import annotations

from crucible_batch.features import found
from crucible_batch.journal import Journal


def noted_fields(journal: Journal) -> dict[str, object]:
    """Return the values of the fields of ``ReportHead`` that features add."""
    noted: dict[str, object] = {}
    for module in found("report_fields"):
        noted |= module.fields(journal)
    return noted
