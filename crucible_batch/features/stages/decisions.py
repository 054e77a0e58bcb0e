"""The outputs that were picked for a later stage."""

from __future__ import annotations

from pathlib import Path

from crucible_batch.edited_files import EditedFile
from crucible_batch.features.stages.note import noted_stages
from crucible_batch.features.stages.picks import MAX_PICKS_BYTES, parse_picks
from crucible_batch.journal import Journal
from crucible_batch.runs.decisions import Decisions


def decisions(journal: Journal, _directory: Path) -> Decisions:
    """Return which outputs are in a picks file of the newest run. Raises ``UserError``."""
    files = {stage.file for stage in noted_stages(journal)}
    found = [
        parse_picks(EditedFile(file, "a picks file", MAX_PICKS_BYTES).text())
        for file in sorted(files)
    ]

    def is_picked(name: str, index: int, _sha256: str) -> bool:
        return any(picks.takes(name, index) for picks in found)

    return Decisions(is_picked=is_picked, is_for_stage=is_picked)
