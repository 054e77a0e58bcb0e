"""Objects in a directory that several machines share: each is a file, created only if none has its
name.

A file is complete and synced before it has its name, which a hard link gives it, or an exclusive
rename where there are no links. The folder is synced before ``create`` returns, so that what was
created survives a power cut. No lock decides who creates a name: the file system does, also over
NFS. Between the check of ``replace`` and its rename, another process may replace the file as well:
it serves files of which any new one will do.

The directory of a ``file://`` URL is never made: where a share is not mounted, an empty one would
be taken for a run that has bought nothing.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeVar

from crucible_batch.atomic_files import TEMPORARY_PREFIX
from crucible_batch.core.output_path import may_hold_output
from crucible_batch.errors import ObjectStoreError
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs.errors import MOVE_IT, OutputError
from crucible_batch.outputs.object_port import ObjectInfo
from crucible_batch.outputs.safe_fs import Folder, folder_of

_T = TypeVar("_T")
_BLOCKED = frozenset({errno.ELOOP, errno.ENOTDIR})
"""Errors for a path on which a link or a file is in place of a folder."""
_ABSENT = _BLOCKED | {errno.ENOENT}
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, *_BLOCKED})
"""Errors that a repetition would have too."""


class DirectoryObjects:
    """The objects in ``directory``, as ``ObjectPort`` describes. No link below it is followed.

    ``url`` is the URL that it was given by; None if that was a path.
    """

    def __init__(self, directory: Path, url: ObjectUrl | None = None) -> None:
        self.url = url or ObjectUrl.of_directory(directory)
        self._directory = directory
        self._root: tuple[int, int] | None = None
        """What was first written to at the path."""
        self._made: set[PurePosixPath] = set()
        """Folders whose names are synced."""

    def address(self, key: str) -> str:
        return str(self._directory / key)

    async def create(self, key: str, content: bytes) -> bool:
        return await self._in_thread(key, lambda: self._create(key, content), writes=True)

    async def replace(self, key: str, content: bytes, info: ObjectInfo) -> bool:
        return await self._in_thread(key, lambda: self._replace(key, content, info), writes=True)

    async def info(self, key: str) -> ObjectInfo | None:
        return await self._in_thread(key, lambda: self._info(key))

    async def digest(self, key: str) -> str | None:
        return await self._in_thread(key, lambda: self._digest(key))

    async def read(self, key: str) -> bytes | None:
        return await self._in_thread(key, lambda: self._read(key))

    async def names(self, folder: str) -> list[str]:
        return await self._in_thread(folder, lambda: list(self._names(folder)))

    async def delete(self, key: str) -> None:
        await self._in_thread(key, lambda: self._delete(key), writes=True)

    async def _in_thread(self, key: str, request: Callable[[], _T], *, writes: bool = False) -> _T:
        def checked() -> _T:
            if self.url.directory is None:
                self._check_root(writes=writes)
            return request()

        try:
            return await asyncio.to_thread(checked)
        except OSError as error:
            raise ObjectStoreError(
                f"{self.address(key)}: the directory is not usable ({error.strerror or error})",
                hint="check that it is mounted and writable here, then run the same command again;"
                " nothing is paid for twice",
                is_refused=error.errno in _REFUSED,
            ) from error

    def _check_root(self, *, writes: bool) -> None:
        """Raise ``ObjectStoreError`` if there is no directory at the path, and ``OSError`` if it is
        another one than that of the first write: something was mounted there, or unmounted."""
        try:
            found = self._directory.stat()
        except FileNotFoundError:
            raise ObjectStoreError(
                f"{self.url}: there is no directory {self._directory}",
                hint="mount what it is on; or if this is a new run, make the directory",
                is_refused=True,
            ) from None
        if writes:
            self._root = self._root or (found.st_dev, found.st_ino)
            if self._root != (found.st_dev, found.st_ino):
                raise OSError(errno.ESTALE, "another one is mounted there now")

    def _create(self, key: str, content: bytes) -> bool:
        try:
            self._make_folders(PurePosixPath(key).parent)
        except OSError as error:
            if error.errno in _BLOCKED and may_hold_output(key):
                raise OutputError(
                    "OUTPUT_EXISTS",
                    f"{PurePosixPath(key).parent} is or contains a link or a file in place of a"
                    f" folder; {MOVE_IT}",
                    final=True,
                ) from error
            raise
        with self._folder(key) as (folder, name), _written(folder, content) as temporary:
            try:
                folder.claim(temporary, name)
            except FileExistsError:
                # Over NFS, the answer to a link that was made may be lost, and its repetition then
                # finds the name taken: by this file.
                if not _is_same_file(folder, temporary, name):
                    return False
            folder.sync()
            return True

    def _replace(self, key: str, content: bytes, info: ObjectInfo) -> bool:
        with self._folder(key) as (folder, name):
            found = _info_of(folder.stat(name))
            if found is None or found.e_tag != info.e_tag:
                return self._read(key) == content
            with _written(folder, content) as temporary:
                folder.replace(temporary, name)
            folder.sync()
            return True

    def _info(self, key: str) -> ObjectInfo | None:
        try:
            with self._folder(key) as (folder, name):
                return _info_of(folder.stat(name))
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            return None

    def _read(self, key: str) -> bytes | None:
        try:
            with self._folder(key) as (folder, name), folder.read(name) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def _digest(self, key: str) -> str | None:
        try:
            with self._folder(key) as (folder, name):
                return folder.digest(name)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            return None

    def _names(self, folder: str) -> Iterator[str]:
        try:
            with self._folder(f"{folder}/*") as (opened, _), opened.entries() as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False) and not _is_temporary(entry.name):
                        yield f"{folder}/{entry.name}"
                    elif entry.is_dir(follow_symlinks=False):
                        yield from self._names(f"{folder}/{entry.name}")
        except FileNotFoundError:
            return

    def _delete(self, key: str) -> None:
        try:
            with self._folder(key) as (folder, name):
                folder.unlink(name)
        except FileNotFoundError:
            return

    def _make_folders(self, path: PurePosixPath) -> None:
        """Make the folders on a path that don't exist, and sync the name of each in its parent."""
        if path in self._made:
            return
        with folder_of(self._directory, path / "*", make=True):
            pass
        for folder in (path, *path.parents):
            with folder_of(self._directory, folder / "*") as opened:
                opened.sync()
        self._made.add(path)

    @contextmanager
    def _folder(self, key: str) -> Iterator[tuple[Folder, str]]:
        """Open the folder of an object, and return it with the name of the object's file."""
        with folder_of(self._directory, key) as folder:
            yield folder, PurePosixPath(key).name


@contextmanager
def _written(folder: Folder, content: bytes) -> Iterator[str]:
    """Write a file under a temporary name, which is removed at the end of the block."""
    name = f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    try:
        with folder.create(name) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield name
    finally:
        folder.unlink(name)


def _is_temporary(name: str) -> bool:
    return name.startswith(TEMPORARY_PREFIX)


def _is_same_file(folder: Folder, name: str, other: str) -> bool:
    one, two = folder.stat(name), folder.stat(other)
    return one is not None and two is not None and os.path.samestat(one, two)


def _info_of(found: os.stat_result | None) -> ObjectInfo | None:
    """Describe a file. Its tag changes whenever it is replaced."""
    if found is None or not stat.S_ISREG(found.st_mode):
        return None
    tag = f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"
    return ObjectInfo(found.st_size, None, tag, is_ours=True)
