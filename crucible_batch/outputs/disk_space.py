"""The check for free disk space.

A run that buys until the disk is full can't save what it has bought.
"""

from __future__ import annotations

import os
from pathlib import Path

from crucible_batch.core.gateway_types import ErrorInfo

RESERVE = 64 * 1024 * 1024
"""Bytes kept free for jobs in flight, the journal and the report. On a small disk it is a
twentieth of the disk."""
_MIB = 1024 * 1024


def space_shortage(directory: Path) -> ErrorInfo | None:
    """Return an error if the disk of ``directory`` has less free than the reserve.

    Returns None if it has more, or if that can't be determined.
    """
    try:
        disk = os.statvfs(directory)
    except OSError:  # the cause will show when an output is written
        return None
    free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    reserve = min(RESERVE, total // 20)  # some network file systems report 0 for all sizes
    if free >= reserve:
        return None
    return ErrorInfo(
        "DISK_NEARLY_FULL",
        f"{free / _MIB:.1f} MiB are free on the disk of the outputs; "
        f"{reserve / _MIB:.1f} MiB are reserved for jobs in flight",
        hint="free some space and run the same command again; no more jobs were bought",
    )
