"""Whether the disk has room for more: a run that buys until it is full can't save what it has bought."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from crucible_batch.core.answers import ErrorInfo

RESERVE: Final = 64 * 1024 * 1024
"""So many bytes stay free for what is in flight, the journal and the report; of a small disk a twentieth."""
_MIB: Final = 1024 * 1024


def shortage(directory: Path) -> ErrorInfo | None:
    """Say that less than the reserve is free where ``directory`` is; None: there is more, or nobody can tell."""
    try:
        disk = os.statvfs(directory)
    except OSError:  # what is wrong with it shows where it is written to
        return None
    free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    reserve = min(RESERVE, total // 20)  # some file systems of the network say 0 of everything
    if free >= reserve:
        return None
    return ErrorInfo(
        "DISK_NEARLY_FULL",
        f"{free / _MIB:.1f} MiB are free where the outputs go, and {reserve / _MIB:.1f} are kept for jobs in flight",
        hint="make room and run the same command again; nothing more was bought",
    )
