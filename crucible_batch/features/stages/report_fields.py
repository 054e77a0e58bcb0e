"""The entries of a manifest with stages, and their picks files, in a report."""

from __future__ import annotations

from collections.abc import Mapping

from crucible_batch.features.stages.note import noted_entries, noted_stages
from crucible_batch.journal import Journal
from crucible_batch.report import EntryRow, PicksRow, WaitingRow


def fields(journal: Journal) -> Mapping[str, object]:
    """Return the fields of the report: entries, and the stages with picks files."""
    stages = noted_stages(journal)
    return {
        "entries": [
            EntryRow(name=entry.name, before=entry.before, sources=entry.sources)
            for entry in noted_entries(journal)
        ],
        "waiting": [
            WaitingRow(
                name=stage.name,
                sources=stage.sources,
                pick=stage.pick,
                choices=sum(1 for _ in stage.candidates(journal.plan())),
            )
            for stage in stages
            if stage.is_waiting
        ],
        "picks": [
            PicksRow(name=stage.name, sources=stage.sources, pick=stage.pick, before=stage.before)
            for stage in stages
        ],
    }
