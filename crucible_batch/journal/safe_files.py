"""Checks of the journal's files: ownership, permissions, durable names; and conversion of database errors.

If a path holds anything but a file of this program, it is neither opened nor written. SQLite follows links, and would
create its tables in any database, so both are checked before it is used.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from crucible_batch.atomic_files import TEMPORARY_PREFIX
from crucible_batch.errors import JournalError, RunDirectoryError

DIRECTORY = ".crucible"
FILE = "journal.sqlite3"
_VERSION_AT = slice(60, 64)
"""The user version in the header of a database."""


@contextmanager
def foreign_errors(directory: Path) -> Iterator[None]:
    """Convert errors of the database in the block to ``JournalError``."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # UnicodeDecodeError: names in the schema that aren't UTF-8
        raise _journal_error(error, directory) from error


def _journal_error(error: sqlite3.Error | UnicodeDecodeError, directory: Path) -> JournalError:
    """Return the error with a hint: a damaged file must be restored, while after a full disk a retry can succeed."""
    # The low byte is the primary error code; the bits above it are details.
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
    damages = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR}
    if isinstance(error, sqlite3.Error) and kind not in damages:
        return JournalError(
            f"the journal can't be used: {error}",
            hint="check the disk (full? read-only?) and run the same command again; all journalled events are intact",
        )
    damaged = "is damaged and can't be read as a journal; nothing was changed"
    what = damaged if kind == sqlite3.SQLITE_NOTADB else f"is damaged: {error}"
    return JournalError(f"{directory / DIRECTORY / FILE} {what}", hint=way_back(directory))


def way_back(directory: Path) -> str:
    """Return the hint for a damaged journal."""
    return (
        f"restore it from a backup; or move {directory / DIRECTORY} away and run the manifest again, which restores the"
        " jobs from receipts.jsonl"
    )


PRIVATE = 0o775
"""The mode of new directories: not writable by others, even if the user's umask is 0."""
_ROOT = 0


def check_rights(directory: Path) -> None:
    """Raise ``RunDirectoryError`` for a run directory that belongs to another user or is writable by everybody.

    Root may use directories of any user, as in containers, and every user may use root's. Raises ``OSError`` too.
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
                f"{folder} is writable by everyone",
                hint=f"run chmod o-w {folder}, or choose another --out-dir, such as a folder in this one",
            )


def _keeps_modes(folder: Path) -> bool:
    """Whether the file system supports modes: on some (FAT, NTFS) every file is writable by everybody."""
    probe = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=folder))
    try:
        return not probe.stat().st_mode & stat.S_IWOTH
    finally:
        probe.rmdir()


_NEW_FOLDERS = 5
"""The number of folders to sync: ``.crucible``, the run directory and its parents, up to the parent of ``outputs``."""


def sync_names(journal: Path) -> None:
    """Sync each folder that may have been created for the journal. Raises ``JournalError``."""
    for folder in list(journal.absolute().parents)[:_NEW_FOLDERS]:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:  # a folder that we can't list existed before
            continue
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise JournalError(
                f"the directory {folder} can't be synced to disk: {error.strerror}",
                hint="check the disk and run the same command again; nothing was spent",
            ) from error
        finally:
            os.close(descriptor)


LOCK: Final = "lock"
_DATABASE: Final = (FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal")
_TABLES: Final = frozenset({"meta", "migrations", "events", "plan", "retired", "runs"})


def refuse_links(directory: Path) -> None:
    """Raise ``RunDirectoryError`` if the journal's folder isn't a directory, or a file in it isn't a regular file.

    This covers the database's files and the lock. A file with several hard links is rejected too, since it may be
    another file as well.
    """
    try:
        _refuse_links(directory)
    except OSError as error:
        raise RunDirectoryError(
            f"{directory} can't be used: {error.strerror}", hint="check its permissions, or choose another --out-dir"
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


def has_journal(directory: Path) -> bool:
    """Whether a directory has a journal. Raises ``RunDirectoryError`` as ``refuse_links`` does.

    A file without tables does not count: its run was killed before it created them, and the next run will.
    """
    refuse_links(directory)
    path = directory / DIRECTORY / FILE
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            header = file.read(_VERSION_AT.stop)
        if any(header[_VERSION_AT]):
            return True  # fast path for almost all
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode={reading_mode(path)}", uri=True)) as connection:
            return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    except (OSError, sqlite3.Error):
        return True  # an error when it is read


def reading_mode(path: Path) -> str:
    """Return the mode of the SQLite URI in which a journal is opened for reading."""
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        # With write access, the last connection to close removes the write-ahead log.
        return "rw"
    # Without a log there is no writer; and in a read-only directory SQLite can't create the files of WAL mode.
    return "ro" if path.with_name(f"{FILE}-wal").exists() else "ro&immutable=1"


def check_ours(connection: sqlite3.Connection, path: Path, known_format: int) -> None:
    """Raise ``JournalError`` if a database is not a journal that this release can use. An empty one is accepted."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    query = "SELECT name, type FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~'"
    objects = list(connection.execute(query))
    if not objects and not version:
        return
    tables = {name for name, kind in objects if kind == "table"}
    if not tables & _TABLES:
        raise JournalError(
            f"{path} is a database of another program, not a journal; nothing was written to it",
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
        what = "is a symbolic link, which is not followed"
    elif stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        what = "has several hard links, so that writing to it would change another file"
    else:
        what = "is not a regular file" if path.name != DIRECTORY else "is not a directory"
    return RunDirectoryError(f"{path} {what}", hint="remove it or replace it with a copy, or choose another --out-dir")
