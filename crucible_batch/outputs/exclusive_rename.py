"""A name for a whole file, taken from nobody, by the best means that the file system has.

    means        where                                     killed in the middle of it
    a link       Linux's and macOS's own, NFS              the file has its name, or has not
    a rename     exFAT, FAT, SMB; most of FUSE             the same
    a place      what has neither: an empty file is made   the name may stand for an empty file, which nobody takes for
                 exclusively, and renamed over             an output: the next run finds it empty and renames over it

A means is tried where those above it are not to be had. An empty file in the way of the last one may be somebody
else's: then it loses its name, and no byte.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import errno
import functools
import os
import stat
import sys
from collections.abc import Callable
from typing import Final

NOT_TO_BE_HAD: Final = {
    errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK,
}  # fmt: skip
"""What systems say of a call that a file system doesn't have. Where it is something else, the next means fails too."""
_RENAME_NOREPLACE: Final = 1  # Linux
_RENAME_EXCL: Final = 4  # macOS
_PLACE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class RenameMethod(enum.Enum):
    """How a file gets its name."""

    LINK = "hard links"
    RENAME = "renames that replace nothing"
    PLACEHOLDER = "places kept by empty files"


def take_name(folder: int, name: str, other: str) -> RenameMethod:
    """Give the file ``name`` of an open folder the name ``other``; it may keep the first. Returns by what means.

    Raises ``FileExistsError`` where something stands there already.
    """
    if _is_had(_link, folder, name, other):
        return RenameMethod.LINK
    rename = _exclusive_rename()
    if rename is not None and _is_had(rename, folder, name, other):
        return RenameMethod.RENAME
    _rename_over_place(folder, name, other)
    return RenameMethod.PLACEHOLDER


def _is_had(means: Callable[[int, str, str], None], folder: int, name: str, other: str) -> bool:
    try:
        means(folder, name, other)
    except OSError as error:
        if error.errno not in NOT_TO_BE_HAD:
            raise
        return False
    return True


def _link(folder: int, name: str, other: str) -> None:
    os.link(name, other, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)


@functools.cache
def _exclusive_rename() -> Callable[[int, str, str], None] | None:
    """Return the system's call for it, None where it has none. Raises as ``os.rename`` does."""
    library = ctypes.CDLL(None, use_errno=True)
    name, flag = ("renameatx_np", _RENAME_EXCL) if sys.platform == "darwin" else ("renameat2", _RENAME_NOREPLACE)
    function = getattr(library, name, None)
    if function is None:
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)

    def rename(folder: int, name: str, other: str) -> None:
        if function(folder, os.fsencode(name), folder, os.fsencode(other), flag) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), name, None, other)

    return rename


def _rename_over_place(folder: int, name: str, other: str) -> None:
    with contextlib.suppress(FileExistsError):  # it may be a place that a killed run has kept
        _make_place(folder, other)
    if not _is_place(folder, other):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), other)
    try:
        os.rename(name, other, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            if _is_place(folder, other):
                os.unlink(other, dir_fd=folder)
        # Whoever is told that the name is taken would look for another file there.
        raise OSError(errno.ENOTSUP, "it has neither hard links nor renames that serve", other) from error


def _make_place(folder: int, name: str) -> None:
    os.close(os.open(name, _PLACE, 0o644, dir_fd=folder))


def _is_place(folder: int, name: str) -> bool:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return stat.S_ISREG(found.st_mode) and found.st_size == 0
