"""The names of a new journal's file and folders, made to outlive a power cut as its rows do."""

from __future__ import annotations

import os
from pathlib import Path

from crucible_batch.errors import JournalError

_NEW_FOLDERS = 5
"""``.crucible``, the run directory and its parents up to the one that ``outputs`` is in."""


def sync_names(journal: Path) -> None:
    """Sync each folder that may have been made for the journal. Raises ``JournalError``."""
    for folder in list(journal.absolute().parents)[:_NEW_FOLDERS]:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:  # one that we may not list was there before
            continue
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise JournalError(
                f"the names in {folder} can't be made durable: {error.strerror}",
                hint="see to the disk and run the same command again; nothing was spent",
            ) from error
        finally:
            os.close(descriptor)
