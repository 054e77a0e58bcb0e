"""The temporary file beside an output, which gets the output's name when it is whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from crucible_batch.domain.events import Sent
from crucible_batch.outputs.safe_fs import Folder, folder_of
from crucible_batch.outputs.safe_fs import write_all as _write_all

TEMPORARY_PREFIX: Final = ".crucible-part-"
DEEPEST: Final = 128
"""Folders from the run directory to an output: no more fit into the 255 bytes that a pattern may have."""
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class TempFile:
    """A temporary file that threads write to, made with the first block. Closing waits for a write that outlives its
    cancelled task.

    It would go into another file else: the number of a descriptor that was closed is that of the next to be opened.
    """

    def __init__(self, directory: Path, path: PurePosixPath) -> None:
        self.directory = directory
        self.path = path
        self._digest = hashlib.sha256()
        self._byte_size = 0
        self._lock = threading.Lock()
        self._is_open = True
        self._is_there = False
        self._descriptor: int | None = None

    @property
    def written(self) -> Sent:
        """What was written so far."""
        return Sent(self._digest.hexdigest(), self._byte_size)

    def write(self, block: bytes, folder: Folder | None = None) -> None:
        """Write all of ``block``; nothing once the file is closed. ``folder`` is its own, if that is open already."""
        with self._lock:
            if self._is_open:
                self._digest.update(block)
                self._byte_size += len(block)
                _write_all(self._opened(folder), block)

    def sync(self) -> None:
        """Make the bytes outlive a power cut. Raises ``OSError`` once the file is closed: it must get no name then."""
        with self._lock:
            if self._descriptor is None:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF), self.path.name)
            os.fsync(self._descriptor)

    def close(self) -> None:
        """May be called twice."""
        with self._lock:
            self._is_open = False
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)

    def remove(self, folder: Folder | None = None) -> None:
        """Take the file's name away, unless that was done."""
        if self._is_there:
            with self.within(folder) as here:
                here.unlink(self.path.name)
            self._is_there = False

    def _opened(self, folder: Folder | None) -> int:
        if self._descriptor is None:
            with self.within(folder) as here:
                self._descriptor = _made(here, self.path.name)
            self._is_there = True
        return self._descriptor

    @contextlib.contextmanager
    def read(self, folder: Folder | None) -> Iterator[BufferedReader]:
        """Have it open for reading, by its name."""
        with self.within(folder) as here, here.read(self.path.name) as file:
            yield file

    def within(self, folder: Folder | None) -> contextlib.AbstractContextManager[Folder]:
        """Have its folder open: ``folder``, where that is done already."""
        return folder_of(self.directory, self.path, make=True) if folder is None else contextlib.nullcontext(folder)


def temporary_files(directory: Path) -> Iterator[PurePosixPath]:
    """Yield the paths of temporary files below a directory, and follow no link.

    Entry by entry, since there may be a million jobs in one folder; and no deeper than outputs can be, since whoever
    prepared the directory may have nested folders without end.
    """
    walk = [("", _entries(folder_of(directory, TEMPORARY_PREFIX)))]
    while walk:
        path, entries = walk[-1]
        found = next(entries, None)
        if found is None:
            walk.pop()
        elif found.folder is None:
            yield PurePosixPath(path, found.name)
        elif len(walk) < DEEPEST:
            walk.append((f"{path}{found.name}/", _entries(found.folder)))


class _Entry(NamedTuple):
    """A temporary file, or a ``folder`` that may be opened while the one that it is in is."""

    name: str
    folder: contextlib.AbstractContextManager[Folder] | None


def _entries(folder: contextlib.AbstractContextManager[Folder]) -> Iterator[_Entry]:
    with contextlib.suppress(OSError), folder as opened, opened.entries() as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield _Entry(entry.name, opened.folder(entry.name))
            elif entry.name.startswith(TEMPORARY_PREFIX) and (entry.is_file() or entry.is_symlink()):
                yield _Entry(entry.name, None)


def _made(folder: Folder, name: str) -> int:
    try:
        return folder.open(name, _NEW)
    except FileExistsError:  # a killed run's; it may be a second name of a file that isn't ours by now
        folder.unlink(name)
        return folder.open(name, _NEW)
