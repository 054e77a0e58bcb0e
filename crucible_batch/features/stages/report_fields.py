"""The picks files of stages in a report."""

from __future__ import annotations

from collections.abc import Mapping

from crucible_batch.features.stages.note import noted_stages
from crucible_batch.journal import Journal
from crucible_batch.report import PicksRow, WaitingRow


def fields(journal: Journal) -> Mapping[str, object]:
    """Return the fields of the report: stages with picks files, and those that wait for picks."""
    stages = noted_stages(journal)
    return {
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
