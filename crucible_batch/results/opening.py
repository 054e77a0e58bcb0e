"""A saved output opened for reading by somebody else than its owner: no link and no device can lead away from it."""

from __future__ import annotations

import errno
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from crucible_batch.results.beneath import folder_of


def open_output(directory: Path, path: str) -> BinaryIO:
    """Open ``path``, which is relative to ``directory``. Raises ``OSError`` for anything but a plain file below it.

    What a run keeps in hidden folders is no output.
    """
    steps = PurePosixPath(path).parts
    if not steps or "\0" in path or any(step in {"/", "//", "..", ".crucible"} for step in steps):
        raise OSError(errno.EINVAL, "no output's path", path)
    with folder_of(directory, path) as folder:
        return folder.read(steps[-1])
