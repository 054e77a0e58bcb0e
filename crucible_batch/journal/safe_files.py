"""The journal's files: whose they are, who may write there, their names made durable, and errors of the database.

Where something else than a file of ours stands, nothing is opened and nothing written.
SQLite follows links, and makes its tables in any database, so both are looked at before it is let in.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from crucible_batch.errors import JournalError, RunDirectoryError

DIRECTORY = ".crucible"
FILE = "journal.sqlite3"


@contextmanager
def foreign_errors(directory: Path) -> Iterator[None]:
    """The one seam where the database's errors become ours."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the second for names in the schema that aren't text
        raise _journal_error(error, directory) from error


def _journal_error(error: sqlite3.Error | UnicodeDecodeError, directory: Path) -> JournalError:
    """A file that is damaged gets no better by trying again; what a full disk held back does."""
    # The low byte is the kind of error; what is above it says more.
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
    damages = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR}
    if isinstance(error, sqlite3.Error) and kind not in damages:
        return JournalError(
            f"the journal can't be used: {error}",
            hint="see to the disk (full? read-only?) and run the same command again; what was journalled is intact",
        )
    damaged = "is damaged, and no journal any more; nothing was changed"
    what = damaged if kind == sqlite3.SQLITE_NOTADB else f"is damaged: {error}"
    return JournalError(f"{directory / DIRECTORY / FILE} {what}", hint=way_back(directory))


def way_back(directory: Path) -> str:
    """Say what to do about a journal that is damaged."""
    return (
        f"restore it from a copy; or move {directory / DIRECTORY} away and run the manifest again:"
        " receipts.jsonl then restores what was bought"
    )


PRIVATE = 0o775
"""The mode of what is made, less the user's own mask, which may take nothing away."""
_ROOT = 0


def check_rights(directory: Path) -> None:
    """Refuse a run directory that is another's, or that everybody may write in, with ``RunDirectoryError``.

    Root may run anywhere, as containers do, and what is root's is everybody's to trust. Raises ``OSError`` as well.
    """
    us = os.geteuid()
    for folder in (directory, directory / DIRECTORY):
        if not folder.exists():
            continue
        status = folder.stat()
        if status.st_uid not in {us, _ROOT} and us != _ROOT:
            raise RunDirectoryError(f"{folder} belongs to another user", hint="choose another --out-dir")
        if status.st_mode & stat.S_IWOTH and _keeps_modes(folder):
            raise RunDirectoryError(
                f"everybody may write in {folder}",
                hint=f"take that away (chmod o-w {folder}), or choose another --out-dir: a folder in this one will do",
            )


def _keeps_modes(folder: Path) -> bool:
    """Whether a folder can be private here: some file systems (FAT, Windows' own) let everybody do everything."""
    probe = Path(tempfile.mkdtemp(prefix=".crucible-part-", dir=folder))
    try:
        return not probe.stat().st_mode & stat.S_IWOTH
    finally:
        probe.rmdir()


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


LOCK: Final = "lock"
_DATABASE: Final = (FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal")
_TABLES: Final = frozenset({"meta", "migrations", "events", "plan", "retired", "runs"})


def refuse_links(directory: Path) -> None:
    """Raise ``RunDirectoryError`` where the folder of the journal, one of its files or the lock is not our own.

    A second name (hard link) of one of them is one of another file as well.
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
        if status is not None and (not stat.S_ISREG(status.st_mode) or status.st_nlink > 1):
            raise _refused(folder / name, status)


def check_ours(connection: sqlite3.Connection, path: Path, known_format: int) -> None:
    """Raise ``JournalError`` where a database is no journal that this release can use; an empty one is new."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    query = "SELECT name, type FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~'"
    objects = list(connection.execute(query))
    if not objects and not version:
        return
    tables = {name for name, kind in objects if kind == "table"}
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
