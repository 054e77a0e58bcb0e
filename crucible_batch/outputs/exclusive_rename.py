"""Naming of a complete file without replacing another, by the best method that the file system supports.

    method        file systems                               if the process is killed meanwhile
    link          native ones of Linux and macOS, NFS        the file has its name or doesn't
    rename        exFAT, FAT, SMB, most of FUSE              the same
    placeholder   all others: an empty file is created       the name may belong to an empty file, which isn't taken
                  exclusively and then renamed over          for an output: the next run renames over it

A method is tried if those above it are not supported. The placeholder method also replaces an empty file of another
program; that file loses its name but no data.
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

NOT_SUPPORTED: Final = {
    errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK,
}  # fmt: skip
"""Errors of a call that the file system doesn't support. If the cause is another, the next method fails too."""
_RENAME_NOREPLACE: Final = 1  # Linux
_RENAME_EXCL: Final = 4  # macOS
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class RenameMethod(enum.Enum):
    """The method by which a file gets its name."""

    LINK = "hard links"
    RENAME = "renames that replace no file"
    PLACEHOLDER = "empty placeholder files"


def take_name(folder: int, name: str, other: str) -> RenameMethod:
    """Give the file ``name`` in an open folder the name ``other``, and return the method used.

    The file may keep its first name too. Raises ``FileExistsError`` if ``other`` exists already.
    """
    if _succeeds(_link, folder, name, other):
        return RenameMethod.LINK
    rename = _exclusive_rename()
    if rename is not None and _succeeds(rename, folder, name, other):
        return RenameMethod.RENAME
    _rename_over_placeholder(folder, name, other)
    return RenameMethod.PLACEHOLDER


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


def _rename_over_placeholder(folder: int, name: str, other: str) -> None:
    with contextlib.suppress(FileExistsError):  # it may be the placeholder of a killed run
        _create_placeholder(folder, other)
    if not _is_placeholder(folder, other):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), other)
    try:
        os.rename(name, other, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            if _is_placeholder(folder, other):
                os.unlink(other, dir_fd=folder)
        # Not FileExistsError: callers would then compare with the file of that name.
        raise OSError(errno.ENOTSUP, "it supports neither hard links nor suitable renames", other) from error


def _create_placeholder(folder: int, name: str) -> None:
    os.close(os.open(name, _NEW, 0o644, dir_fd=folder))


def _is_placeholder(folder: int, name: str) -> bool:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return stat.S_ISREG(found.st_mode) and found.st_size == 0
