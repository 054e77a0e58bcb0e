"""A saved output opened for reading by somebody else than its owner: no link and no device can lead away from it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO

_NO_LINK = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_output(directory: Path, path: str) -> BinaryIO:
    """Open ``path``, which is relative to ``directory``. Raises ``OSError`` for anything but a plain file below it.

    Each folder on the way is opened within the one before it and not by its name, so that nothing that is swapped
    meanwhile can lead elsewhere. What a run keeps in hidden folders is no output.
    """
    *folders, name = _steps(path)
    here = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            there = os.open(folder, _NO_LINK | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = there
        descriptor = os.open(name, _NO_LINK | os.O_NONBLOCK, dir_fd=here)
    finally:
        os.close(here)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no plain file", path)
    return os.fdopen(descriptor, "rb")


def _steps(path: str) -> tuple[str, ...]:
    steps = PurePosixPath(path).parts
    if not steps or "\0" in path or any(step in {"/", "//", "..", ".crucible"} for step in steps):
        raise OSError(errno.EINVAL, "no output's path", path)
    return steps
