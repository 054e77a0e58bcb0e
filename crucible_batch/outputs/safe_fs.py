"""Folders below a run directory, opened without following links, and the operations in them.

A run directory may come from another person: unpacked from an archive, or on a shared disk. A link
in it must not lead reads or writes out of it. Each folder is opened relative to its parent with
``O_NOFOLLOW`` and kept open, so operations stay in that folder even if its name changes meanwhile.
The path of the run directory itself may contain links.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from io import BufferedReader, BufferedWriter
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from crucible_batch.core.output_path import may_hold_output
from crucible_batch.outputs.exclusive_rename import take_name

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP}  # fsync(2): the file system can't sync such a descriptor
NOT_OURS = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EINVAL})
"""Errors for a path that has a link, or no folder where one is needed, and for anything but a
regular file at it."""


class Folder:
    """An open folder. Names must be single path components; no link is followed.

    Methods block. Use it from one thread at a time.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def open(self, name: str, flags: int) -> int:
        """Open a file, or create it with mode 0644, and return its descriptor.

        The caller must close it.
        """
        return os.open(_single(name), flags | _NO_LINK, 0o644, dir_fd=self._descriptor)

    def create(self, name: str) -> BufferedWriter:
        """Create a file with mode 0644, open for writing.

        Raises ``FileExistsError`` if the name is taken.
        """
        return os.fdopen(self.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb")

    def read(self, name: str) -> BufferedReader:
        """Open a regular file for reading.

        Raises ``OSError`` for anything else; never blocks on a pipe.
        """
        descriptor = self.open(name, os.O_RDONLY | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", name)
        return os.fdopen(descriptor, "rb")

    def stat(self, name: str) -> os.stat_result | None:
        """Return the status of a name, of a link itself and not of its target.

        Returns None if the name doesn't exist.
        """
        try:
            return os.stat(_single(name), dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def digest(self, name: str, *, most_bytes: int | None = None) -> str | None:
        """Return the SHA-256 of a regular file in hex.

        Returns None if the name doesn't exist or isn't a regular file. With ``most_bytes``, it is
        that of so many bytes at its beginning.
        """
        found = self.stat(name)
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        with self.read(name) as file:
            if most_bytes is not None:
                return hashlib.sha256(file.read(most_bytes)).hexdigest()
            return hashlib.file_digest(file, "sha256").hexdigest()

    def claim(self, name: str, other: str) -> None:
        """Give a file another name; the file may keep its first name too.

        Raises ``FileExistsError`` if the name is taken.
        """
        take_name(self._descriptor, _single(name), _single(other))

    def link(self, name: str, other: str, into: Folder | None = None) -> None:
        """Give a file a second name, a hard link, in this folder or ``into`` another one.

        Raises ``FileExistsError`` if the name is taken, another ``OSError`` if there are no hard
        links.
        """
        folder: Folder = into or self
        os.link(
            _single(name),
            _single(other),
            src_dir_fd=self._descriptor,
            dst_dir_fd=folder._descriptor,
            follow_symlinks=False,
        )

    def replace(self, name: str, other: str) -> None:
        """Rename a file, replacing any file that has the new name."""
        os.replace(
            _single(name), _single(other), src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor
        )

    def unlink(self, name: str) -> None:
        """Remove a name. It is not an error if it doesn't exist."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_single(name), dir_fd=self._descriptor)

    def remove_folder(self, name: str) -> None:
        """Remove an empty folder.

        Raises ``OSError`` if it isn't empty or isn't a folder; a link is not followed.
        """
        os.rmdir(_single(name), dir_fd=self._descriptor)

    def entries(self) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        """Return an iterator over the folder's entries, read incrementally.

        The folder must stay open.
        """
        return os.scandir(self._descriptor)

    @contextlib.contextmanager
    def folder(self, name: str) -> Iterator[Folder]:
        """Open a folder in this one. Raises ``OSError``, also for a link."""
        descriptor = os.open(_single(name), _FOLDER | _NO_LINK, dir_fd=self._descriptor)
        try:
            yield Folder(descriptor)
        finally:
            os.close(descriptor)

    def sync_file(self, name: str) -> None:
        """Sync a file's bytes to disk, so that they survive a power cut."""
        descriptor = self.open(name, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Sync the names in the folder, so that they survive a power cut.

        Does nothing if the file system can't do it.
        """
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise


@contextlib.contextmanager
def folder_of(
    directory: Path, path: PurePosixPath | str, *, make: bool = False
) -> Iterator[Folder]:
    """Open the folder that contains ``path``, which is relative to ``directory``.

    With ``make``, create it if needed. Raises ``OSError``: ``ELOOP`` if a folder on the path is a
    link, ``EINVAL`` if the path leads out of ``directory``.
    """
    path = PurePosixPath(path)
    steps = path.parts[:-1]
    if path.is_absolute() or ".." in steps or "\0" in str(path):
        raise OSError(errno.EINVAL, "leads out of the run directory", str(path))
    root = _root(directory, make=make)
    try:
        descriptor = _walk(root, steps, make=make)
    finally:
        os.close(root)
    try:
        yield Folder(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def folder_of_output(
    directory: Path, path: PurePosixPath | str, *, make: bool = False
) -> Iterator[Folder]:
    """Open the folder of an output, or of a file beside one.

    Raises ``OSError``, as ``folder_of`` does. ``path`` may come from another person's journal, so
    ``EINVAL`` is also raised if an output may not be there.
    """
    if not may_hold_output(str(path)):
        raise OSError(errno.EINVAL, "not the path of an output", str(path))
    with folder_of(directory, path, make=make) as folder:
        yield folder


def write_all(descriptor: int, block: bytes) -> None:
    """Write all of ``block``.

    A raw write may be short without an error; the next write then raises the cause.
    """
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]


def _root(directory: Path, *, make: bool) -> int:
    try:
        return os.open(directory, _FOLDER)
    except FileNotFoundError:
        if not make:
            raise
    directory.mkdir(parents=True, exist_ok=True)
    return os.open(directory, _FOLDER)


def _walk(root: int, steps: tuple[str, ...], *, make: bool) -> int:
    here = os.dup(root)
    for step in steps:
        try:
            there = _step(here, step, make=make)
        finally:
            os.close(here)
        here = there
    return here


def _step(here: int, name: str, *, make: bool) -> int:
    try:
        return _open_folder(here, name)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):  # another thread may have made it just now
        os.mkdir(name, dir_fd=here)
    return _open_folder(here, name)


def _open_folder(here: int, name: str) -> int:
    try:
        return os.open(name, _FOLDER | _NO_LINK, dir_fd=here)
    except NotADirectoryError:
        # A link is reported as not a folder too, but it gets its own error, since it may be an
        # attack.
        if stat.S_ISLNK(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
        raise


def _single(name: str) -> str:
    if "/" in name or name in {"", ".", ".."}:
        raise OSError(errno.EINVAL, "not a single name", name)
    return name


def open_output(directory: Path, path: str) -> BinaryIO:
    """Open ``path``, which is relative to ``directory``.

    Raises ``OSError`` if it is not a regular file below it. A run's own files don't count as
    outputs, and raise too.
    """
    with folder_of_output(directory, path) as folder:
        return folder.read(PurePosixPath(path).name)
