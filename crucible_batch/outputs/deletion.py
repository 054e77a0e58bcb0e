"""Deletion of a run's outputs.

Only the recorded bytes at their planned paths are deleted, and never through a link.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from crucible_batch.outputs.safe_fs import NOT_OURS, Folder, folder_of, folder_of_output
from crucible_batch.outputs.sidecars import SIDECAR_SUFFIX, is_sidecar

_THUMBNAIL_FOLDERS = ("thumbnails", ".crucible/thumbnails")
_THUMBNAIL = re.compile(r"[0-9a-f]{40}(?:\.webp|-\d{1,2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class DeletedOutput:
    """The number of deleted bytes, and the path of a file that was kept because it isn't ours."""

    byte_size: int = 0
    kept: str | None = None


def size_of_output(directory: Path, path: str, byte_size: int) -> int:
    """Return the bytes on disk of an output of ``byte_size`` bytes and its sidecar.

    The result is 0 if another file is there.
    """
    name = PurePosixPath(path).name
    try:
        with folder_of_output(directory, path) as folder:
            output = folder.stat(name)
            if output is not None and not _is_file(output, byte_size):
                return 0
            sidecar = folder.stat(f"{name}{SIDECAR_SUFFIX}")
    except OSError:
        return 0
    size = 0
    if output is not None:
        size += output.st_size
    if sidecar is not None and _is_file(sidecar):
        size += sidecar.st_size
    return size


def _is_file(found: os.stat_result, byte_size: int | None = None) -> bool:
    """Whether it is a regular file, of ``byte_size`` if given."""
    return stat.S_ISREG(found.st_mode) and byte_size in {None, found.st_size}


def delete_output(directory: Path, path: str, sha256: str) -> DeletedOutput:
    """Delete an output and its sidecar, and its folder if that is empty then.

    A file with other bytes, anything that isn't a regular file, and a file behind a link are kept,
    and so is the sidecar. A missing file is not an error. Raises ``OSError`` if the disk fails.
    """
    name = PurePosixPath(path).name
    try:
        with folder_of_output(directory, path) as folder:
            size = _delete_if_same(folder, name, sha256)
            if size is None:
                return DeletedOutput(kept=path)
            size += _delete_sidecar(folder, f"{name}{SIDECAR_SUFFIX}")
    except FileNotFoundError:  # the folder is gone already
        return DeletedOutput()
    except OSError as error:
        if error.errno not in NOT_OURS:
            raise
        return DeletedOutput(kept=path)
    delete_empty_folders(directory, path)
    return DeletedOutput(size)


def _delete_if_same(folder: Folder, name: str, sha256: str) -> int | None:
    """Delete a file with this digest, and return its size.

    The result is 0 if there is no file, and None if it is another one.
    """
    found = folder.stat(name)
    if found is None:
        return 0
    if not stat.S_ISREG(found.st_mode):
        return None
    with folder.read(name) as file:
        read = os.fstat(file.fileno())
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            return None
        now = folder.stat(name)
        # The file may have been changed, or its name given to another file, while it was read.
        if now is None or not os.path.samestat(read, now) or read.st_mtime_ns != now.st_mtime_ns:
            return None
        folder.unlink(name)
    return read.st_size


def _delete_sidecar(folder: Folder, name: str) -> int:
    found = folder.stat(name)
    if found is None or not is_sidecar(folder, name):
        return 0
    folder.unlink(name)
    return found.st_size


def delete_empty_folders(directory: Path, path: str) -> None:
    """Remove the folders above a path, the innermost first, as long as they are empty.

    No link is removed.
    """
    for parent in PurePosixPath(path).parents:
        if parent.name and not _is_removed(directory, parent):
            return


def _is_removed(directory: Path, path: PurePosixPath) -> bool:
    """Remove an empty folder; return False if it is not empty, a link, or gone."""
    with contextlib.suppress(OSError), folder_of(directory, path) as above:
        above.remove_folder(path.name)
        return True
    return False


def size_of_page(directory: Path) -> int:
    """Return the bytes of the page and the thumbnails."""
    return sum(size for _, _, size in _page_files(directory))


def delete_page(directory: Path) -> int:
    """Delete ``report.html`` and the thumbnails, and return their bytes.

    Raises ``OSError`` if the disk fails.
    """
    deleted = 0
    for folder_path, name, size in _page_files(directory):
        with folder_of(directory, PurePosixPath(folder_path, name)) as folder:
            folder.unlink(name)
        deleted += size
    for path in _THUMBNAIL_FOLDERS:
        _is_removed(directory, PurePosixPath(path))
    return deleted


def _page_files(directory: Path) -> list[tuple[str, str, int]]:
    """Return folder, name and size of the page's files.

    Links and files with other names are left out.
    """
    files: list[tuple[str, str, int]] = []
    with contextlib.suppress(OSError), folder_of(directory, "report.html") as folder:
        found = folder.stat("report.html")
        if found is not None and stat.S_ISREG(found.st_mode):
            files.append(("", "report.html", found.st_size))
    for path in _THUMBNAIL_FOLDERS:
        with (
            contextlib.suppress(OSError),
            folder_of(directory, f"{path}/x") as folder,
            folder.entries() as entries,
        ):
            files.extend(
                (path, entry.name, entry.stat(follow_symlinks=False).st_size)
                for entry in entries
                if _THUMBNAIL.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            )
    return files
