"""Naming of outputs.

Complete files get their names without replacing another file's, keep them and give them up. All
functions block, and follow no link below the run directory.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

from crucible_batch.atomic_files import TEMPORARY_PREFIX
from crucible_batch.outputs.errors import MOVE_IT, OutputError, taken
from crucible_batch.outputs.exclusive_rename import NOT_SUPPORTED
from crucible_batch.outputs.safe_fs import Folder, folder_of_output

_MARK_BYTES = 16 * 1024 * 1024
"""The first bytes of a damaged file whose digest is in its new name."""


def publish(
    temporary: PurePosixPath,
    directory: Path,
    path: PurePosixPath,
    digest: str,
    accepted_digest: str,
) -> str:
    """Sync the temporary file, give it the name ``path`` unless a file has it, and sync the name.

    Returns the digest of the file at ``path``: ``digest``, or ``accepted_digest`` if a file with
    that one was there. Raises ``OutputError`` if a file with another digest has the name.
    """
    with folder_of_output(directory, path) as folder:
        folder.sync_file(temporary.name)
        return link_into_place(folder, temporary.name, path, digest, accepted_digest)


def link_into_place(
    folder: Folder, temporary: str, path: PurePosixPath, digest: str, accepted_digest: str = ""
) -> str:
    """Do the same as ``publish`` in an open folder, with a file that is already synced."""
    present = digest
    try:
        folder.claim(temporary, path.name)
    except FileExistsError:
        present = ""
        if accepted_digest or _size(folder, path.name) == _size(folder, temporary):
            present = folder.digest(path.name) or ""
        if present not in {digest, accepted_digest} - {""}:
            raise taken(path) from None
    folder.sync()
    return present


def put_back(
    temporary: PurePosixPath, directory: Path, path: PurePosixPath, digest: str
) -> str | None:
    """Sync the temporary file and give it the name ``path``.

    If a file with other bytes has the name, it is kept under another name, which is returned;
    otherwise returns None. Raises ``OutputError`` if something other than a file has the name.
    """
    aside = None
    with folder_of_output(directory, path) as folder:
        folder.sync_file(temporary.name)
        if folder.stat(path.name) is not None:
            mark = folder.digest(path.name, most_bytes=_MARK_BYTES)
            if mark is None:
                message = f"{path} exists and is not a regular file; {MOVE_IT}"
                raise OutputError("OUTPUT_EXISTS", message, final=True)
            is_same_size = _size(folder, path.name) == _size(folder, temporary.name)
            if is_same_size and folder.digest(path.name) == digest:
                return None
            aside = f"{path}.damaged-{mark[:8]}"
            _keep_as(folder, path.name, PurePosixPath(aside))
        folder.replace(temporary.name, path.name)
        folder.sync()
    return aside


def _keep_as(folder: Folder, name: str, aside: PurePosixPath) -> None:
    """Give a file, which is going to be replaced, another name in its folder.

    May be called twice.
    """
    try:
        folder.claim(name, aside.name)
    except FileExistsError:
        if not _is_same(folder, name, aside.name):
            raise taken(aside) from None
    folder.sync()


def _is_same(folder: Folder, name: str, other: str) -> bool:
    """Whether two regular files have the same bytes. Files of different sizes are not read."""
    one, two = folder.stat(name), folder.stat(other)
    if one is None or two is None or one.st_size != two.st_size:
        return False
    return os.path.samestat(one, two) or folder.digest(name) == folder.digest(other)


def _size(folder: Folder, name: str) -> int | None:
    found = folder.stat(name)
    if found is None:
        return None
    return found.st_size


def add_name(directory: Path, path: str, other: str, digest: str) -> None:
    """Give the file ``path``, which has the digest, a second name in its folder.

    So it survives losing the first one. The name is synced. May be called twice. If the file system
    has no hard links, a copy gets the second name.

    Raises ``OutputError`` if a file with other bytes has that name.
    """
    first, second = PurePosixPath(path).name, PurePosixPath(other).name
    with folder_of_output(directory, path) as folder:
        try:
            _double(folder, first, second, digest)
        except FileExistsError:
            if folder.digest(second) != digest:
                raise taken(other) from None
        folder.sync()


def _double(folder: Folder, first: str, second: str, digest: str) -> None:
    try:
        folder.link(first, second)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise
        if folder.stat(second) is not None and folder.digest(second) == digest:
            return
        _copy(folder, first, second, digest)


def _copy(folder: Folder, first: str, second: str, digest: str) -> None:
    temporary = f"{TEMPORARY_PREFIX}copy-{digest[:16]}"
    folder.unlink(temporary)
    try:
        with folder.read(first) as source, folder.create(temporary) as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())
        if folder.digest(temporary) != digest:
            raise OutputError(
                "OUTPUT_EXISTS", f"{first} was changed while it was moved; {MOVE_IT}", final=True
            )
        folder.claim(temporary, second)
    finally:
        folder.unlink(temporary)


def remove_name(directory: Path, path: str, other: str, digest: str) -> None:
    """Remove the name ``path`` from a file with the digest.

    The file is kept as ``other`` in the same folder. Raises ``OutputError`` if either name has been
    removed, or given to a file with other bytes.
    """
    first, second = PurePosixPath(path).name, PurePosixPath(other).name
    with folder_of_output(directory, path) as folder:
        here, kept = folder.stat(first), folder.stat(second)
        is_same = here is not None and kept is not None and os.path.samestat(here, kept)
        if not is_same and any(folder.digest(name) != digest for name in (first, second)):
            raise OutputError(
                "OUTPUT_EXISTS",
                f"{path} was changed while it was moved; run the same command again",
                final=True,
            )
        folder.unlink(first)
