"""Marks that pages of ``view --control`` save."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from crucible_batch.features.marks.saving import read_changes, save

NAME = "marks"
MAX_BYTES = 512 * 1024


@cache
def script() -> str:
    """Return the script of pages that save marks."""
    return resources.files(__package__).joinpath("scripts/saving.js").read_text(encoding="utf-8")


def answer(directory: Path, content: bytes) -> Mapping[str, object]:
    """Save what a page has sent, and return the answer for it.

    Raises ``UserError``, ``RunDirectoryError`` and ``JournalError``.
    """
    return {"unknown": list(save(directory, read_changes(content)))}
