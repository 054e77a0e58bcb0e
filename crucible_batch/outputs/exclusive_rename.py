"""Naming of a complete file without replacing another.

The best method is used that the file system supports:

    link      native ones of Linux and macOS, NFS
    rename    exFAT, FAT, SMB, most of FUSE

If the process is killed meanwhile, the file has its name or doesn't. A file system that supports
neither is refused before anything is bought.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
from collections.abc import Callable

NOT_SUPPORTED = {
    errno.EPERM,
    errno.EACCES,
    errno.EINVAL,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EMLINK,
}
"""Errors of a call that the file system doesn't support. If the cause is another, the next
method fails too."""
_RENAME_NOREPLACE = 1  # Linux
_RENAME_EXCL = 4  # macOS


def take_name(folder: int, name: str, other: str) -> None:
    """Give the file ``name`` in an open folder the name ``other``.

    The file may keep its first name too. Raises ``FileExistsError`` if ``other`` exists already,
    and ``OSError`` if the file system has no way to do it.
    """
    if _succeeds(_link, folder, name, other):
        return
    rename = _exclusive_rename()
    if rename is None or not _succeeds(rename, folder, name, other):
        raise OSError(errno.ENOTSUP, "it supports neither hard links nor suitable renames", other)


def _succeeds(method: Callable[[int, str, str], None], folder: int, name: str, other: str) -> bool:
    try:
        method(folder, name, other)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise
        return False
    return True


def _link(folder: int, name: str, other: str) -> None:
    os.link(name, other, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)


@functools.cache
def _exclusive_rename() -> Callable[[int, str, str], None] | None:
    """Return the system's function for a rename that replaces no file, or None if there is none.

    The function raises as ``os.rename`` does.
    """
    library = ctypes.CDLL(None, use_errno=True)
    name, flag = "renameat2", _RENAME_NOREPLACE
    if sys.platform == "darwin":
        name, flag = "renameatx_np", _RENAME_EXCL
    function = getattr(library, name, None)
    if function is None:
        return None
    function.argtypes = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    )

    def rename(folder: int, name: str, other: str) -> None:
        if function(folder, os.fsencode(name), folder, os.fsencode(other), flag) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), name, None, other)

    return rename
