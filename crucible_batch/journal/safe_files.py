"""Checks of the journal's files: ownership, permissions, links, durable names.

SQLite follows links, so they are looked for before it opens a file.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from crucible_batch.atomic_files import TEMPORARY_PREFIX
from crucible_batch.errors import JournalError, RunDirectoryError

DIRECTORY = ".crucible"
FILE = "journal.sqlite3"
PRIVATE = 0o775
"""The mode of new directories: not writable by others, even if the user's umask is 0."""
_ROOT = 0


def check_rights(directory: Path) -> None:
    """Raise ``RunDirectoryError`` if another user could write into the directory.

    It must belong to the user, and not be writable by everybody. Root may use directories of any
    user, as in containers, and every user may use root's. Raises ``OSError`` too.
    """
    us = os.geteuid()
    for folder in (directory, directory / DIRECTORY):
        if not folder.exists():
            continue
        status = folder.stat()
        if status.st_uid not in {us, _ROOT} and us != _ROOT:
            raise RunDirectoryError(
                f"{folder} belongs to another user", hint="choose another --out-dir"
            )
        if status.st_mode & stat.S_IWOTH and _keeps_modes(folder):
            raise RunDirectoryError(
                f"{folder} is writable by everyone",
                hint=(
                    f"run chmod o-w {folder}, or choose another --out-dir, "
                    "such as a folder in this one"
                ),
            )


def _keeps_modes(folder: Path) -> bool:
    """Whether the file system supports modes.

    On some (FAT, NTFS) every file is writable by everybody.
    """
    probe = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=folder))
    try:
        return not probe.stat().st_mode & stat.S_IWOTH
    finally:
        probe.rmdir()


_NEW_FOLDERS = 5
"""The number of folders to sync: ``.crucible``, the run directory and its parents, up to the
parent of ``outputs``."""


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


LOCK = "lock"
_DATABASE = (FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal")


def refuse_links(directory: Path) -> None:
    """Raise ``RunDirectoryError`` if the journal's folder or a file in it is a link or a device.

    The folder must be a directory, and a file in it a regular file. This covers the database's
    files and the lock. A file with several hard links is rejected too, since it may be another file
    as well.
    """
    try:
        _refuse_links(directory)
    except OSError as error:
        raise RunDirectoryError(
            f"{directory} can't be used: {error.strerror}",
            hint="check its permissions, or choose another --out-dir",
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
        if status is None:
            continue
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise _refused(folder / name, status)


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
    elif path.name == DIRECTORY:
        what = "is not a directory"
    else:
        what = "is not a regular file"
    return RunDirectoryError(
        f"{path} {what}", hint="remove it or replace it with a copy, or choose another --out-dir"
    )
