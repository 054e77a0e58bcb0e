"""The temporary file beside an output, which gets the output's name when it is complete."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from crucible_batch.atomic_files import TEMPORARY_PREFIX
from crucible_batch.core.events import Sent
from crucible_batch.outputs.safe_fs import Folder, folder_of
from crucible_batch.outputs.safe_fs import write_all as _write_all

DEEPEST = 128
"""Folder levels from the run directory to an output: more don't fit into the 255 bytes of a path
pattern."""
_OWN_FILES = ".crucible"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class TempFile:
    """A temporary file that threads write to, created with the first block.

    ``close`` waits for a write that outlives its cancelled task. Otherwise that write could go into
    another file, since the number of a closed descriptor is used for the next one opened.
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
        """The digest and size of the bytes written so far."""
        return Sent(self._digest.hexdigest(), self._byte_size)

    def write(self, block: bytes, folder: Folder | None = None) -> None:
        """Write all of ``block``, or nothing if the file is closed.

        ``folder`` is its folder if already open.
        """
        with self._lock:
            if self._is_open:
                self._digest.update(block)
                self._byte_size += len(block)
                _write_all(self._opened(folder), block)

    def sync(self) -> None:
        """Sync the bytes to disk, so that they survive a power cut.

        Raises ``OSError`` if the file is closed or was never created: it must not get a name then.
        """
        with self._lock:
            if self._descriptor is None:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF), self.path.name)
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file. May be called twice."""
        with self._lock:
            self._is_open = False
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)

    def remove(self, folder: Folder | None = None) -> None:
        """Remove the file's name, if it exists. May be called twice."""
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
        """Open the file for reading, by its name."""
        with self.within(folder) as here, here.read(self.path.name) as file:
            yield file

    def within(self, folder: Folder | None) -> contextlib.AbstractContextManager[Folder]:
        """Open the file's folder, or return ``folder`` if given."""
        if folder is not None:
            return contextlib.nullcontext(folder)
        return folder_of(self.directory, self.path, make=True)


def temporary_files(directory: Path) -> Iterator[PurePosixPath]:
    """Yield the paths of temporary files below a directory, without following links.

    Those of run directories below it, such as of shards, are left out: a run may be writing them.

    Entries are read one at a time, since one folder may hold a million jobs. The search goes no
    deeper than outputs can be, since a directory from another person may contain folders nested
    without limit.
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
    """A temporary file, or a ``folder``, which can be opened only while its parent is open."""

    name: str
    folder: contextlib.AbstractContextManager[Folder] | None


def _entries(folder: contextlib.AbstractContextManager[Folder]) -> Iterator[_Entry]:
    with contextlib.suppress(OSError), folder as opened, opened.entries() as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not _is_run_directory(opened, entry.name):
                    yield _Entry(entry.name, opened.folder(entry.name))
            elif _is_temporary(entry):
                yield _Entry(entry.name, None)


def _is_temporary(entry: os.DirEntry[str]) -> bool:
    if not entry.name.startswith(TEMPORARY_PREFIX):
        return False
    return entry.is_file() or entry.is_symlink()


def _is_run_directory(folder: Folder, name: str) -> bool:
    with contextlib.suppress(OSError), folder.folder(name) as below:
        return below.stat(_OWN_FILES) is not None
    return False


def _made(folder: Folder, name: str) -> int:
    try:
        return folder.open(name, _NEW)
    except FileExistsError:
        # Left by a killed run. It may be a hard link to another file, so don't write to it.
        folder.unlink(name)
        return folder.open(name, _NEW)
