"""A saved output opened for reading by somebody else than its owner: no link and no device can lead away from it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import BinaryIO

from crucible_batch.results.beneath import folder_of_output


def open_output(directory: Path, path: str) -> BinaryIO:
    """Open ``path``, which is relative to ``directory``. Raises ``OSError`` for anything but a plain file below it.

    What a run keeps for itself is no output.
    """
    with folder_of_output(directory, path) as folder:
        return folder.read(PurePosixPath(path).name)
