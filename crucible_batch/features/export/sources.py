"""The files of outputs, from which an export is made: read, checked and linked."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import BinaryIO

from crucible_batch.core.output_path import may_hold_output
from crucible_batch.errors import UserError
from crucible_batch.features.export.pictures import ExportedPicture
from crucible_batch.outputs import FileState, Folder, OutputStore
from crucible_batch.outputs.safe_fs import NOT_OURS, folder_of_output

_BLOCK_BYTES = 1024 * 1024


class PictureSources:
    """The outputs of one run. No link is followed below its directory."""

    def __init__(self, store: OutputStore) -> None:
        self._store = store

    def state(self, picture: ExportedPicture) -> FileState:
        """Read the file of an output, and compare it with its recorded digest."""
        if not may_hold_output(picture.path):
            return FileState.MISPLACED
        try:
            with self._store.open(picture.path) as file:
                hashed = HashedFile(file)
                while hashed.read(_BLOCK_BYTES):
                    pass
        except FileNotFoundError:
            return FileState.MISSING
        except OSError as error:
            if error.errno in NOT_OURS:
                return FileState.REPLACED
            return FileState.UNREADABLE
        return FileState.OK if hashed.digest() == picture.sha256 else FileState.DAMAGED

    def put(self, picture: ExportedPicture, folder: Folder, name: str) -> None:
        """Give the file of an output a name in an open folder: a hard link, or else a copy.

        Raises ``OSError``, and ``UserError`` if it is not the recorded one any more.
        """
        if not self._is_linked(picture, folder, name):
            with folder.create(name) as copy:
                self.copy(picture, copy)
                copy.flush()
                os.fsync(copy.fileno())
        if folder.digest(name) != picture.sha256:
            raise _changed(picture)

    def copy(self, picture: ExportedPicture, target: BinaryIO) -> None:
        """Write the bytes of an output. Raises as ``put`` does."""
        with self.opened(picture) as file:
            shutil.copyfileobj(file, target, _BLOCK_BYTES)

    @contextmanager
    def opened(self, picture: ExportedPicture) -> Iterator[HashedFile]:
        """Open an output, and check the bytes again that the block has read.

        Raises ``OSError``, and ``UserError`` if they are not the recorded ones.
        """
        with self._store.open(picture.path) as file:
            if file.seek(0, os.SEEK_END) != picture.byte_size:
                raise _changed(picture)
            file.seek(0)
            hashed = HashedFile(file)
            yield hashed
            if hashed.digest() != picture.sha256:
                raise _changed(picture)

    def _is_linked(self, picture: ExportedPicture, folder: Folder, name: str) -> bool:
        if self._store.url is not None:
            return False
        path = PurePosixPath(picture.path)
        try:
            with folder_of_output(self._store.directory, path) as source:
                source.link(path.name, name, folder)
        except FileExistsError:
            raise
        except OSError as error:
            # Another file system, or one without hard links, or too many of them.
            if error.errno == errno.ENOENT:
                raise
            return False
        return True


class HashedFile:
    """A file whose bytes are hashed as they are read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._digest.update(block)
        return block

    def digest(self) -> str:
        return self._digest.hexdigest()


def _changed(picture: ExportedPicture) -> UserError:
    return UserError(
        f"{picture.path} was changed while it was exported",
        hint="run the same command again",
    )
