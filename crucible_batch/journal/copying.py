"""Copies of journals: a run directory that is continued elsewhere, while its own process may still hold it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from crucible_batch.atomic_files import TEMPORARY_PREFIX
from crucible_batch.journal.database import foreign_errors
from crucible_batch.journal.safe_files import DIRECTORY, FILE, refuse_links
from crucible_batch.journal.store import Journal


def copy_journal(source: Path, target: Path) -> None:
    """Copy the journal of run directory ``source`` as of now into ``target``, synced, complete or not at all.

    The source needs no lock: a process that is frozen may hold it. The caller must hold the target's. Raises
    ``JournalError`` if the source can't be read, ``RunDirectoryError`` if it has no journal, and ``OSError``.
    """
    refuse_links(target)
    with Journal.read(source):  # checked before it is copied
        pass
    folder = target / DIRECTORY
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{TEMPORARY_PREFIX}{FILE}"
    for leftover in (temporary, *(folder / f"{temporary.name}{end}" for end in ("-wal", "-shm", "-journal"))):
        leftover.unlink(missing_ok=True)
    path = source / DIRECTORY / FILE
    with (
        foreign_errors(source),
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(temporary)) as new,
    ):
        old.backup(new)
        new.execute("PRAGMA journal_mode=DELETE")  # one file without a log beside it, which can be renamed
    _sync(temporary)
    temporary.replace(folder / FILE)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
