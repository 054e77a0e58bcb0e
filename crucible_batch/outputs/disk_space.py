"""Whether the disk has room for more: a run that buys until it is full can't save what it has bought."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from crucible_batch.domain.gateway_types import ErrorInfo

RESERVE: Final = 64 * 1024 * 1024
"""So many bytes stay free for what is in flight, the journal and the report; of a small disk a twentieth."""
_MIB: Final = 1024 * 1024
_AMPLE: Final = 16
"""So many reserves aren't filled in the time for which nobody looks."""
_TRUSTED_S: Final = 0.25


class DiskSpace:
    """The room of the disk where ``directory`` is. Asking takes 0.1 ms: of an ample disk that is not for each job."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        self._ample_until = -1.0

    def shortage(self) -> ErrorInfo | None:
        """Say that less than the reserve is free; None: there is more, or nobody can tell."""
        if self._clock() < self._ample_until:
            return None
        try:
            disk = os.statvfs(self._directory)
        except OSError:  # what is wrong with it shows where it is written to
            return None
        free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        reserve = min(RESERVE, total // 20)  # some file systems of the network say 0 of everything
        if free >= _AMPLE * reserve:
            self._ample_until = self._clock() + _TRUSTED_S
        if free >= reserve:
            return None
        return ErrorInfo(
            "DISK_NEARLY_FULL",
            f"{free / _MIB:.1f} MiB are free where the outputs go, "
            f"and {reserve / _MIB:.1f} are kept for jobs in flight",
            hint="make room and run the same command again; nothing more was bought",
        )
