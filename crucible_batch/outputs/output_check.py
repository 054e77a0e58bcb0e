"""The check of a saved output on disk against its recorded digest and size."""

from __future__ import annotations

import enum
import stat
from pathlib import Path, PurePosixPath

from crucible_batch.core.output_path import may_hold_output
from crucible_batch.outputs.safe_fs import NOT_OURS, folder_of_output


class FileState(enum.StrEnum):
    """The state of an output's path.

    ``REPLACED``: the path or a folder on it is a link, a directory where a file belongs, or a
    device. ``MISPLACED``: an output may not be at that path, so it was not checked. ``UNSAVED``:
    there is no path, since the gateway lists the output but it was never saved.
    """

    OK = "ok"
    MISSING = "missing"
    DAMAGED = "damaged"
    REPLACED = "replaced"
    MISPLACED = "misplaced"
    UNREADABLE = "unreadable"
    UNSAVED = "unsaved"


def check_output(directory: Path, path: str, sha256: str, byte_size: int) -> FileState:
    """Return the state of ``path``, which is relative to ``directory``. Blocking.

    A file of the right size is read completely. No link is followed below ``directory``, and no
    device is opened.
    """
    if not may_hold_output(path):
        return FileState.MISPLACED
    name = PurePosixPath(path).name
    try:
        with folder_of_output(directory, path) as folder:
            found = folder.stat(name)
            if found is None:
                return FileState.MISSING
            if not stat.S_ISREG(found.st_mode):
                return FileState.REPLACED
            if found.st_size == byte_size and folder.digest(name) == sha256:
                return FileState.OK
    except FileNotFoundError:
        return FileState.MISSING
    except OSError as error:
        if error.errno in NOT_OURS:
            return FileState.REPLACED
        return FileState.UNREADABLE
    return FileState.DAMAGED
