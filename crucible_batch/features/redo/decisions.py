"""The outputs that the file of rejections names, also if no run has read it since."""

from __future__ import annotations

from pathlib import Path

from crucible_batch.features.redo.rejections import REJECTS_FILE, Rejections, read_rejections
from crucible_batch.features.redo.source import noted_file
from crucible_batch.journal import Journal
from crucible_batch.runs.decisions import Decisions


def decisions(journal: Journal, directory: Path) -> Decisions:
    """Return which outputs are rejected. Raises ``ManifestError``."""
    path = noted_file(journal, directory) or directory / REJECTS_FILE
    lines = read_rejections(path, str(path))
    if not lines:
        return Decisions()
    rejections = Rejections(lines, {planned.name for planned in journal.plan()})
    return Decisions(is_rejected=rejections.rejects)
