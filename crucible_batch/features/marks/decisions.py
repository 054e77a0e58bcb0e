"""The pictures that were picked on pages of ``view --control``."""

from __future__ import annotations

from pathlib import Path

from crucible_batch.features.marks.marks_file import read_marks
from crucible_batch.features.redo.rejections import DIGITS
from crucible_batch.journal import Journal
from crucible_batch.runs.decisions import Decisions


def decisions(_journal: Journal, directory: Path) -> Decisions:
    """Return which outputs are picked. Raises ``UserError``."""
    marks = read_marks(directory).marks
    picked = {key for key, mark in marks.items() if mark.mark == "picked"}

    def is_picked(name: str, index: int, sha256: str) -> bool:
        return f"{name}/{index} {sha256[:DIGITS]}" in picked

    return Decisions(is_picked=is_picked)
