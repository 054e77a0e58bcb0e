"""A directory, tried out as a run would use it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from crucible_batch.journal import Binding, Journal, lock_run_directory
from crucible_batch.results import Means, check_ground

_FOREIGN = "größe/{index}{ext}"


def try_directory(directory: Path) -> Means:
    """Lock, journal and name a file in a folder below ``directory`` that is gone afterwards.

    Returns by what means outputs would get their names there. Raises ``OSError`` where nothing can be written,
    ``RunDirectoryError`` and ``JournalError`` as a run would.
    """
    with (
        TemporaryDirectory(prefix=".crucible-part-", dir=directory) as folder,
        lock_run_directory(Path(folder)),
        Journal.open(Path(folder), Binding("doctor", "doctor", ""), now=0.0),
    ):
        return check_ground(Path(folder), [_FOREIGN])
