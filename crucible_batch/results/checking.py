"""What stands on disk where an output was saved, held against the digest and the size that were recorded."""

from __future__ import annotations

import enum
import hashlib
import os
import stat
from pathlib import Path, PurePosixPath


class FileState(enum.StrEnum):
    """What was found at a path. ``REPLACED``: a link, a directory or a device, there or on the way there."""

    OK = "ok"
    MISSING = "missing"
    DAMAGED = "damaged"
    REPLACED = "replaced"
    UNREADABLE = "unreadable"


def check_output(directory: Path, path: str, sha256: str, byte_size: int) -> FileState:
    """Say what stands at ``path``, which is relative to ``directory``. Reads all of a file of the right size; blocking.

    No link is followed below ``directory``, and no device is opened.
    """
    target, within = directory / path, PurePosixPath(path)
    try:
        if within.is_absolute() or target.parent.resolve() != directory.resolve() / within.parent:
            return FileState.REPLACED
        found = target.lstat()
        if not stat.S_ISREG(found.st_mode):
            return FileState.REPLACED
        if found.st_size == byte_size and _digest(target) == sha256:
            return FileState.OK
    except FileNotFoundError:
        return FileState.MISSING
    except NotADirectoryError:
        return FileState.REPLACED
    except (OSError, RuntimeError):  # RuntimeError: links that lead in a circle
        return FileState.UNREADABLE
    return FileState.DAMAGED


def _digest(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
