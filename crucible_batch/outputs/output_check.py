"""What stands on disk where an output was saved, held against the digest and the size that were recorded."""

from __future__ import annotations

import enum
import errno
import stat
from pathlib import Path, PurePosixPath

from crucible_batch.domain.output_path import may_hold_output
from crucible_batch.outputs.safe_fs import folder_of_output


class FileState(enum.StrEnum):
    """What was found at a path. ``REPLACED``: a link, a directory or a device, there or on the way there.

    ``MISPLACED``: no output may stand at that path, so nothing there was looked at.
    ``UNSAVED``: no path at all, since the gateway lists the output and it was never saved.
    """

    OK = "ok"
    MISSING = "missing"
    DAMAGED = "damaged"
    REPLACED = "replaced"
    MISPLACED = "misplaced"
    UNREADABLE = "unreadable"
    UNSAVED = "unsaved"


_LED_ASTRAY = {errno.ELOOP, errno.ENOTDIR, errno.EINVAL}


def check_output(directory: Path, path: str, sha256: str, byte_size: int) -> FileState:
    """Say what stands at ``path``, which is relative to ``directory``. Reads all of a file of the right size; blocking.

    No link is followed below ``directory``, and no device is opened.
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
        return FileState.REPLACED if error.errno in _LED_ASTRAY else FileState.UNREADABLE
    return FileState.DAMAGED
