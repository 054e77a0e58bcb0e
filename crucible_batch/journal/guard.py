"""What stands where the journal goes: our own files, or nothing is opened there, and nothing written.

SQLite follows links, and makes its tables in any database, so both are looked at before it is let in.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from typing import Final

from crucible_batch.errors import JournalError, RunDirectoryError
from crucible_batch.journal.trouble import DIRECTORY, FILE, way_back

LOCK: Final = "lock"
_DATABASE: Final = (FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal")
_TABLES: Final = frozenset({"meta", "migrations", "events", "plan", "retired", "runs"})


def refuse_links(directory: Path) -> None:
    """Raise ``RunDirectoryError`` where the folder of the journal, one of its files or the lock is not our own.

    A second name (hard link) of the database is one of another file as well.
    """
    try:
        _refuse_links(directory)
    except OSError as error:
        raise RunDirectoryError(
            f"{directory} can't be used: {error.strerror}", hint="see to its rights, or choose another --out-dir"
        ) from error


def _refuse_links(directory: Path) -> None:
    folder = directory / DIRECTORY
    found = _status(folder)
    if found is None:
        return
    if not stat.S_ISDIR(found.st_mode):
        raise _refused(folder, found)
    for name in (*_DATABASE, LOCK):
        status = _status(folder / name)
        if status is not None and (not stat.S_ISREG(status.st_mode) or (name in _DATABASE and status.st_nlink > 1)):
            raise _refused(folder / name, status)


def check_ours(connection: sqlite3.Connection, path: Path, known_format: int) -> None:
    """Raise ``JournalError`` where a database is no journal that this release can use; one without tables is new."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
    tables = {name for (name,) in connection.execute(query)}
    if not tables and not version:
        return
    if not tables & _TABLES:
        raise JournalError(
            f"{path} is a database of something else, and no journal; nothing was written into it",
            hint="move it away, or choose another --out-dir",
        )
    if version > known_format:
        raise JournalError(
            f"{path} was written by a newer release (format {version}; this one reads up to {known_format})",
            hint="upgrade crucible-batch",
        )
    if missing := _TABLES - tables:
        raise JournalError(
            f"{path} is damaged: it has no table {', '.join(sorted(missing))}; nothing was changed",
            hint=way_back(path.parent.parent),
        )


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _refused(path: Path, status: os.stat_result) -> RunDirectoryError:
    if stat.S_ISLNK(status.st_mode):
        what = "is a link, and none is followed"
    elif stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        what = "has a second name elsewhere (a hard link), and what is written to one is written to both"
    else:
        what = "is no plain file" if path.name != DIRECTORY else "is no directory"
    return RunDirectoryError(
        f"{path} {what}", hint="see who put it there; remove it or put a copy in its place, or choose another --out-dir"
    )
