"""The locks that allow one run at a time, and the files that name their holders.

One lock is of a run directory, another of all runs of a manifest.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from crucible_batch.errors import RunBusyError, RunDirectoryError
from crucible_batch.journal.safe_files import DIRECTORY, LOCK, PRIVATE, check_rights, refuse_links
from crucible_batch.shell_command import shell_command

HOLDER = "holder"
_LONGEST = 1000
_HOST = re.compile(r"[A-Za-z0-9._-]{1,255}")


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lock. ``since`` is the modification time of the holder file."""

    host: str
    pid: int
    since: datetime

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since:%Y-%m-%d %H:%M:%S} UTC"


def write_holder(directory: Path) -> None:
    """Write the holder file, which names this process, into ``directory``. Errors are ignored."""
    text = json.dumps({"host": socket.gethostname(), "pid": os.getpid()})
    # Replaced, not overwritten: an existing file may be a hard link to another file.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        (directory / HOLDER).unlink(missing_ok=True)
        descriptor = os.open(directory / HOLDER, flags, 0o644)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def erase_holder(directory: Path) -> None:
    """Delete the holder file. Call it before the lock is released. Errors are ignored."""
    with contextlib.suppress(OSError):
        (directory / HOLDER).unlink()


def read_holder(directory: Path) -> Holder | None:
    """Return the process named in the holder file.

    Returns None if the file is missing, incomplete or otherwise invalid.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(directory / HOLDER, flags)
        try:
            text, written_at = os.read(descriptor, _LONGEST), os.fstat(descriptor).st_mtime
        finally:
            os.close(descriptor)
        record = json.loads(text)
        host, pid = record["host"], record["pid"]
        since = datetime.fromtimestamp(written_at, UTC)
    except (OSError, ValueError, TypeError, LookupError, RecursionError, OverflowError):
        return None
    if type(pid) is not int or not 0 < pid < 2**31:
        return None
    if not isinstance(host, str) or not _HOST.fullmatch(host):
        return None
    return Holder(host, pid, since)


_LOOK_S = 0.1
"""How long to wait for the lock, in seconds. ``is_locked`` takes a shared lock for a moment,
which must not make a starting run fail."""
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
"""Errors of locking on a file system without locks (on NFS, also if the lock service can't be
reached)."""
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_OR_IF_RUNNING = "wait until it ends, or use --if-running wait or --if-running skip"


@contextmanager
def lock_run_directory(directory: Path) -> Iterator[None]:
    """Lock the run directory for the block, creating it if needed.

    The kernel releases the locks of a killed process. The directory itself is locked, so that
    deleting or replacing a file in it can't admit a second run. A file in it is locked too, for
    file systems that can't lock directories (NFS) and for older releases, which lock only the file.

    Raises ``RunBusyError`` immediately if another run holds the directory, with the holder if
    known. Raises ``RunDirectoryError`` if the directory can't be created, contains links, is
    writable by others (a directory from another user must not redirect our writes), or if its file
    system has no locks.
    """
    progress = shell_command("status", directory)
    with _locked_for(directory, f"wait until it ends; {progress} shows its progress"):
        yield


@contextmanager
def lock_results(folder: Path) -> Iterator[None]:
    """Lock the folder of all runs of a manifest, such as ``outputs/NAME``.

    It is locked as ``lock_run_directory`` locks a run directory. The lock keeps out other callers
    of this function only: a run that doesn't call it locks its run directory alone.
    """
    with _locked_for(folder, _OR_IF_RUNNING):
        yield


@contextmanager
def _locked_for(directory: Path, hint_if_busy: str) -> Iterator[None]:
    with ExitStack() as stack:
        _take(stack, directory, hint_if_busy)
        write_holder(directory / DIRECTORY)
        stack.callback(erase_holder, directory / DIRECTORY)
        yield


def refuse_if_locked(directory: Path) -> None:
    """Raise ``RunBusyError``, with the holder if known, if a run currently holds the directory."""
    if is_locked(directory):
        raise _busy(directory, _OR_IF_RUNNING)


def _busy(directory: Path, hint: str) -> RunBusyError:
    message = f"another run holds {directory}"
    holder = read_holder(directory / DIRECTORY)
    if holder is not None:
        message += f": {holder}"
    return RunBusyError(message, hint=hint)


def is_locked(directory: Path) -> bool:
    """Return whether a run currently holds the directory."""
    try:
        descriptor = _opened(directory)
    except OSError:
        return False
    try:
        if not _flock(descriptor, fcntl.LOCK_SH):
            return True
    finally:
        os.close(descriptor)
    return _is_file_locked(directory)


def _take(stack: ExitStack, directory: Path, hint_if_busy: str) -> None:
    try:
        directory.mkdir(PRIVATE, parents=True, exist_ok=True)
        refuse_links(directory)
        (directory / DIRECTORY).mkdir(PRIVATE, exist_ok=True)
        check_rights(directory)
        _check_locks(directory)
        stack.callback(os.close, _locked(directory))
        lock = FileLock(directory / DIRECTORY / LOCK)
        lock.acquire(timeout=_LOOK_S, poll_interval=_LOOK_S / 10)
        stack.callback(lock.release)
    except Timeout:
        raise _busy(directory, hint_if_busy) from None
    except OSError as error:
        raise RunDirectoryError(
            f"{directory} can't be used: {error.strerror}", hint="choose another --out-dir"
        ) from error


def _locked(directory: Path) -> int:
    """Lock the directory and return the descriptor that holds the lock. Raises ``Timeout``."""
    deadline = time.monotonic() + _LOOK_S
    while True:
        with ExitStack() as stack:
            descriptor = _opened(directory)
            stack.callback(os.close, descriptor)
            is_held = _flock(descriptor, fcntl.LOCK_EX)
            # If the directory was renamed or replaced meanwhile, this lock has no effect.
            if is_held and os.path.samestat(os.fstat(descriptor), directory.stat()):
                stack.pop_all()
                return descriptor
        if time.monotonic() >= deadline:
            raise Timeout(str(directory))
        time.sleep(_LOOK_S / 10)


def _opened(directory: Path) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _flock(descriptor: int, kind: int) -> bool:
    """Lock a directory without waiting; False if it is locked already.

    True if the file system can't lock directories, since no other process can hold the lock then.
    """
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _HELD
    return True


def _is_file_locked(directory: Path) -> bool:
    try:
        return not _is_free(directory, os.O_RDONLY)
    except OSError:  # missing, unreadable, or no locks: no run can hold it
        return False


def _check_locks(directory: Path) -> None:
    """Raise ``RunDirectoryError`` if the file system has no locks.

    ``FileLock`` would fall back to the existence of a file, which remains after its process was
    killed.
    """
    try:
        _is_free(directory, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise RunDirectoryError(
            f"the file system of {directory} has no file locks, "
            f"which prevent two runs at a time: {error.strerror}",
            hint="choose another --out-dir, on another disk; nothing was bought",
        ) from error


def _is_free(directory: Path, flags: int) -> bool:
    """Return whether the lock file is unlocked, by taking a shared lock for a moment.

    Raises ``OSError`` if the file system has no locks or the file doesn't exist.
    """
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(directory / DIRECTORY / LOCK, flags, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        # PermissionError: some systems report a held lock so.
        return False
    finally:
        os.close(descriptor)
    return True
