"""The limit of open files of this process, for commands that hold many locks."""

from __future__ import annotations

import contextlib
import resource

_OTHERS = 128
"""Files that the rest of a command has open at most: databases, outputs, streams."""


def allow_open_files(count: int) -> None:
    """Raise the limit if needed so that ``count`` files can be open beside those of the command, if the system permits.

    Opening a file fails with ``OSError`` otherwise.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHERS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
