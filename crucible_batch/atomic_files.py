"""Files that are opened without waiting, written completely or not at all, and not overwritten
without asking."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from crucible_batch.errors import UserError

TEMPORARY_PREFIX = ".crucible-part-"
"""With this begin the names of all temporary files in a run directory.

The next run removes those of killed runs.
"""


def open_at_once(path: str, flags: int) -> int:
    """Open a file for ``open(opener=...)``. Raises ``OSError``.

    Opening a pipe would otherwise wait for a writer.
    """
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def temporary_path(target: Path) -> Path:
    """Return the path of the temporary file of ``target``.

    It is another one for each process and thread.
    """
    return target.with_name(
        f"{TEMPORARY_PREFIX}{os.getpid()}-{threading.get_ident()}-{target.name}"
    )


@contextmanager
def replacing(target: Path, *, synced: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``target``; at the end of the block it is synced and replaces
    ``target``.

    After an error in the block, ``target`` is unchanged. A link at ``target`` is replaced, not
    followed. Without ``synced``, a power cut may leave a part of the file. Raises ``OSError``.
    """
    temporary = temporary_path(target)
    temporary.unlink(missing_ok=True)  # left by a killed process, or a link created by another user
    try:
        with temporary.open("xb") as file:
            yield file
            if synced:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def alone(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Open a file that is read and replaced, so that no line is added to it meanwhile.

    Yields its descriptor. ``append_lines`` of the same file waits, so it can't be called in the
    block. Links are not followed. Raises ``OSError``.
    """
    while True:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        try:
            # A file system without locks: then only the moment of the replacement is at risk.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _has_name(descriptor, path):  # it was not replaced while its lock was awaited
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _has_name(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Add lines to a text file by one write at its end, which is synced. Links are not followed.

    Of several commands at the same time, none undoes another's. Raises ``OSError``.
    """
    with alone(path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as descriptor:
        size = os.fstat(descriptor).st_size
        text = "".join(f"{line}\n" for line in lines)
        if size > 0 and os.pread(descriptor, 1, size - 1) != b"\n":
            text = f"\n{text}"
        os.write(descriptor, text.encode())
        os.fsync(descriptor)


def check_target(target: Path, what: str, is_ours: Callable[[Path], bool], *, force: bool) -> None:
    """Raise ``UserError`` unless ``target`` is absent or a regular file for which ``is_ours`` is
    true.

    ``force`` allows any regular file. ``what`` names the kind of file in messages, with its
    article: "a saved plan". Nothing is kept open: ``target`` may still change after the check.
    """
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(
            f"{target} can't be written: {error.strerror}", hint="give another file with -o"
        ) from error
    if stat.S_ISLNK(mode):
        raise UserError(
            f"{target} is a symbolic link, which is not followed",
            hint="give the file itself with -o",
        )
    if not stat.S_ISREG(mode):
        raise UserError(f"{target} is not a regular file", hint=f"give a file for {what} with -o")
    if not force and not is_ours(target):
        raise UserError(
            f"{target} exists and is not {what}; it was not overwritten",
            hint="give another file with -o, or overwrite it with --force",
        )
