"""The check for free disk space: a run that buys until the disk is full can't save what it has bought."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from crucible_batch.domain.gateway_types import ErrorInfo

RESERVE: Final = 64 * 1024 * 1024
"""Bytes kept free for jobs in flight, the journal and the report. On a small disk it is a twentieth of the disk."""
_MIB: Final = 1024 * 1024
_AMPLE: Final = 16
"""Free space, in reserves, that can't fill up within ``_TRUSTED_S`` seconds."""
_TRUSTED_S: Final = 0.25


class DiskSpace:
    """The free space of the disk that holds ``directory``.

    A check takes 0.1 ms, so while there is ample space it is not repeated for each job.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        self._ample_until = -1.0

    def shortage(self) -> ErrorInfo | None:
        """Return an error if less than the reserve is free, or None if there is more or it can't be determined."""
        if self._clock() < self._ample_until:
            return None
        try:
            disk = os.statvfs(self._directory)
        except OSError:  # the cause will show when an output is written
            return None
        free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        reserve = min(RESERVE, total // 20)  # some network file systems report 0 for all sizes
        if free >= _AMPLE * reserve:
            self._ample_until = self._clock() + _TRUSTED_S
        if free >= reserve:
            return None
        return ErrorInfo(
            "DISK_NEARLY_FULL",
            f"{free / _MIB:.1f} MiB are free on the disk of the outputs; {reserve / _MIB:.1f} MiB are reserved for jobs"
            " in flight",
            hint="free some space and run the same command again; no more jobs were bought",
        )
