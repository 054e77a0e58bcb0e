"""Folders below a run directory, reached without following a link, and what is done in them.

A run directory may come from somebody else: unpacked, or on a shared disk. A link within it must not lead our writes,
nor our reads, out of it. Each folder is opened within the one before it, with ``O_NOFOLLOW``, and held open: what is
done in it is done there, whatever becomes of its name meanwhile. The run directory itself may be reached by a link.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from crucible_batch.domain.output_path import may_hold_output
from crucible_batch.outputs.exclusive_rename import RenameMethod, take_name

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_LINK: Final = os.O_NOFOLLOW | os.O_CLOEXEC
_NO_SYNC: Final = {errno.EINVAL, errno.ENOTSUP}  # fsync(2): nothing of that kind can be synced


class Folder:
    """An open folder. Names are single ones; no link is followed. Blocking, and for one thread at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def open(self, name: str, flags: int) -> int:
        """Open a file, or make it with mode 0644; returns its descriptor, which is the caller's."""
        return os.open(_single(name), flags | _NO_LINK, 0o644, dir_fd=self._descriptor)

    def read(self, name: str) -> BufferedReader:
        """Open a plain file for reading. Raises ``OSError`` for anything else, and waits for no pipe."""
        descriptor = self.open(name, os.O_RDONLY | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "no plain file", name)
        return os.fdopen(descriptor, "rb")

    def stat(self, name: str) -> os.stat_result | None:
        """Say what stands there, a link itself and not what it leads to; None: nothing."""
        try:
            return os.stat(_single(name), dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def digest(self, name: str) -> str | None:
        """Return the SHA-256 of a plain file's bytes, in hexadecimal; None where something else, or nothing, stands."""
        found = self.stat(name)
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        with self.read(name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def claim(self, name: str, other: str) -> RenameMethod:
        """Give a file another name; it may keep the one it has. Raises ``FileExistsError`` where that is taken."""
        return take_name(self._descriptor, _single(name), _single(other))

    def link(self, name: str, other: str) -> None:
        """Give a file a second name. Raises ``FileExistsError`` where that is taken, ``OSError`` where there are no
        second names."""
        here = self._descriptor
        os.link(_single(name), _single(other), src_dir_fd=here, dst_dir_fd=here, follow_symlinks=False)

    def replace(self, name: str, other: str) -> None:
        """Give a file another name, and take that from what had it."""
        os.replace(_single(name), _single(other), src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def unlink(self, name: str) -> None:
        """Take a name away; one that isn't there is no error."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_single(name), dir_fd=self._descriptor)

    def entries(self) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        """List what stands in it, a piece at a time, while it is open."""
        return os.scandir(self._descriptor)

    @contextlib.contextmanager
    def folder(self, name: str) -> Iterator[Folder]:
        """Open a folder in it. Raises ``OSError``, for a link too."""
        descriptor = os.open(_single(name), _FOLDER | _NO_LINK, dir_fd=self._descriptor)
        try:
            yield Folder(descriptor)
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Make the names in it outlive a power cut, as far as its file system can."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise


@contextlib.contextmanager
def folder_of(directory: Path, path: PurePosixPath | str, *, make: bool = False) -> Iterator[Folder]:
    """Open the folder that ``path``, which is relative to ``directory``, lies in; with ``make``, it is made if need be.

    Raises ``OSError``: ``ELOOP`` where a link stands on the way, ``EINVAL`` for a path that leads out.
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
def folder_of_output(directory: Path, path: PurePosixPath | str, *, make: bool = False) -> Iterator[Folder]:
    """Open the folder of an output, or of what stands beside one. Raises ``OSError``, as ``folder_of`` does.

    ``path`` may come from a journal that somebody else wrote: ``EINVAL`` where no output may stand there.
    """
    if not may_hold_output(str(path)):
        raise OSError(errno.EINVAL, "no output's path", str(path))
    with folder_of(directory, path, make=make) as folder:
        yield folder


def write_all(descriptor: int, block: bytes) -> None:
    """Write all of ``block``. A raw write may be short without an error; the next one then tells why."""
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
        # A link is reported as not a folder too; it is the one of the two that somebody may have put there for us.
        if stat.S_ISLNK(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
        raise


def _single(name: str) -> str:
    if "/" in name or name in {"", ".", ".."}:
        raise OSError(errno.EINVAL, "not a single name", name)
    return name


def open_output(directory: Path, path: str) -> BinaryIO:
    """Open ``path``, which is relative to ``directory``. Raises ``OSError`` for anything but a plain file below it.

    What a run keeps for itself is no output.
    """
    with folder_of_output(directory, path) as folder:
        return folder.read(PurePosixPath(path).name)
