"""Names of outputs: given to whole files, never taken from a file that stands there, kept and given up in good order.

All of it blocks, and follows no link below the run directory.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

from crucible_batch.outputs.errors import MOVE_IT, OutputError
from crucible_batch.outputs.exclusive_rename import NOT_TO_BE_HAD
from crucible_batch.outputs.safe_fs import Folder, folder_of_output
from crucible_batch.outputs.temp_file import TEMPORARY_PREFIX


def publish(temporary: PurePosixPath, directory: Path, path: PurePosixPath, digest: str, or_else: str) -> str:
    """Sync the file, give it its name unless another stands there, and sync the name.

    Returns the digest of what stands there now. That may be ``or_else``, where it stood there before.
    """
    with folder_of_output(directory, path) as folder:
        _sync(folder, temporary.name)
        return link_into_place(folder, temporary.name, path, digest, or_else)


def link_into_place(folder: Folder, temporary: str, path: PurePosixPath, digest: str, or_else: str = "") -> str:
    """Do the same in an open folder, with a file that is synced already."""
    stands = digest
    try:
        folder.claim(temporary, path.name)
    except FileExistsError:
        stands = folder.digest(path.name) or ""
        if stands not in {digest, or_else} - {""}:
            raise OutputError("OUTPUT_EXISTS", f"another file stands at {path}; {MOVE_IT}", final=True) from None
    _sync(folder)
    return stands


def put_back(temporary: PurePosixPath, directory: Path, path: PurePosixPath, digest: str) -> str | None:
    """Sync the file and give it its name. What stood there keeps its bytes under another, which is returned."""
    aside = None
    with folder_of_output(directory, path) as folder:
        _sync(folder, temporary.name)
        if folder.stat(path.name) is not None:
            other = folder.digest(path.name)
            if other is None:
                message = f"something else than a file stands at {path}; {MOVE_IT}"
                raise OutputError("OUTPUT_EXISTS", message, final=True)
            if other == digest:
                return None
            aside = f"{path}.damaged-{other[:8]}"
            keep_as(directory, path.as_posix(), aside, other)
        folder.replace(temporary.name, path.name)
        _sync(folder)
    return aside


def keep_as(directory: Path, path: str, other: str, digest: str) -> None:
    """Give a file of that digest a second name beside it, synced, so that it outlives the loss of its first. May be
    done again. Where a file has one name only, it is a copy that gets the other.

    Raises ``OutputError`` where a file with other bytes has that name.
    """
    first, second = PurePosixPath(path).name, PurePosixPath(other).name
    with folder_of_output(directory, path) as folder:
        try:
            _double(folder, first, second, digest)
        except FileExistsError:
            if folder.digest(second) != digest:
                raise OutputError("OUTPUT_EXISTS", f"another file stands at {other}; {MOVE_IT}", final=True) from None
        _sync(folder)


def _double(folder: Folder, first: str, second: str, digest: str) -> None:
    try:
        folder.link(first, second)
    except OSError as error:
        if error.errno not in NOT_TO_BE_HAD:
            raise
        if folder.stat(second) is not None and folder.digest(second) == digest:
            return
        _copy(folder, first, second, digest)


def _copy(folder: Folder, first: str, second: str, digest: str) -> None:
    temporary = f"{TEMPORARY_PREFIX}copy-{digest[:16]}"
    folder.unlink(temporary)
    try:
        with (
            folder.read(first) as source,
            os.fdopen(folder.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as copy,
        ):
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())
        if folder.digest(temporary) != digest:
            raise OutputError("OUTPUT_EXISTS", f"{first} has changed just now; {MOVE_IT}", final=True)
        folder.claim(temporary, second)
    finally:
        folder.unlink(temporary)


def give_up(directory: Path, path: str, other: str, digest: str) -> None:
    """Take the name ``path`` from a file of that digest, which is kept as ``other`` beside it.

    Raises ``OutputError`` where ``path`` is no longer that file: somebody has put another one there meanwhile.
    """
    first, second = PurePosixPath(path).name, PurePosixPath(other).name
    with folder_of_output(directory, path) as folder:
        here, kept = folder.stat(first), folder.stat(second)
        is_same = here is not None and kept is not None and os.path.samestat(here, kept)
        if not is_same and folder.digest(first) != digest:
            raise OutputError("OUTPUT_EXISTS", f"{path} has changed just now; run the same command again", final=True)
        folder.unlink(first)


def _sync(folder: Folder, name: str | None = None) -> None:
    """Make a file's bytes outlive a power cut; without a name, the names in the folder."""
    if name is None:
        folder.sync()
        return
    descriptor = folder.open(name, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
