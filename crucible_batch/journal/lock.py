"""One run at a time in a run directory."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from crucible_batch.errors import RunBusyError, RunDirectoryError
from crucible_batch.journal.guard import LOCK, refuse_links
from crucible_batch.journal.holder import erase_holder, read_holder, write_holder
from crucible_batch.journal.rights import PRIVATE, check_rights
from crucible_batch.journal.trouble import DIRECTORY

_LOOK_S = 0.1
"""``is_locked`` takes the lock for a moment to try it: whoever only looked must not keep a run out."""
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


@contextmanager
def lock_run_directory(directory: Path) -> Iterator[None]:
    """Hold the directory, making it where there is none. The kernel drops the locks however their holder dies.

    The directory itself is locked, so that no file in it can be deleted or replaced to let a second run in; and a file
    in it, for file systems that lock no directories (NFS) and for older releases, which know of the file alone.

    Raises ``RunBusyError`` at once where another run holds it, saying who, and ``RunDirectoryError`` where it can't be
    made, holds links, or is open to others: a directory from somebody else must not have us write elsewhere.
    """
    with ExitStack() as stack:
        _take(stack, directory)
        write_holder(directory / DIRECTORY)
        stack.callback(erase_holder, directory / DIRECTORY)
        yield


def is_locked(directory: Path) -> bool:
    """Tell whether a run holds the directory right now."""
    try:
        descriptor = _opened(directory)
    except OSError:
        return False
    try:
        if not _flock(descriptor, fcntl.LOCK_SH):
            return True
    finally:
        os.close(descriptor)
    return _is_file_locked(directory / DIRECTORY / LOCK)


def _take(stack: ExitStack, directory: Path) -> None:
    try:
        directory.mkdir(PRIVATE, parents=True, exist_ok=True)
        refuse_links(directory)
        (directory / DIRECTORY).mkdir(PRIVATE, exist_ok=True)
        check_rights(directory)
        stack.callback(os.close, _locked(directory))
        lock = FileLock(directory / DIRECTORY / LOCK)
        lock.acquire(timeout=_LOOK_S, poll_interval=_LOOK_S / 10)
        stack.callback(lock.release)
    except Timeout:
        holder = read_holder(directory / DIRECTORY)
        raise RunBusyError(
            f"another run holds {directory}" + (f": {holder}" if holder is not None else ""),
            hint="wait for it (crucible-batch status shows how far it is), or choose another --run-id",
        ) from None
    except OSError as error:
        raise RunDirectoryError(
            f"{directory} can't be used: {error.strerror}", hint="choose another --out-dir"
        ) from error


def _locked(directory: Path) -> int:
    """Return the descriptor by which the directory is locked. Raises ``Timeout``."""
    deadline = time.monotonic() + _LOOK_S
    while True:
        with ExitStack() as stack:
            descriptor = _opened(directory)
            stack.callback(os.close, descriptor)
            # One that has lost its name in the meantime keeps nobody out.
            if _flock(descriptor, fcntl.LOCK_EX) and os.path.samestat(os.fstat(descriptor), directory.stat()):
                stack.pop_all()
                return descriptor
        if time.monotonic() >= deadline:
            raise Timeout(str(directory))
        time.sleep(_LOOK_S / 10)


def _opened(directory: Path) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _flock(descriptor: int, kind: int) -> bool:
    """Lock a directory at once; False where another holds it. Where directories can't be locked, nobody does."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _HELD
    return True


def _is_file_locked(path: Path) -> bool:
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # a directory that we may only read tells nothing; whoever reads it can't run in it either
        return False
    lock.release()
    return False
