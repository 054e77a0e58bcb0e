"""One run at a time in a run directory: the lock, and a file that says who holds it."""

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

HOLDER = "holder"
_LONGEST = 1000
_HOST = re.compile(r"[A-Za-z0-9._-]{1,255}")


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lock. ``since`` is the time of the file that says so."""

    host: str
    pid: int
    since: datetime

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since:%Y-%m-%d %H:%M:%S} UTC"


def write_holder(directory: Path) -> None:
    """Say that this process holds the lock of ``directory``. What fails here keeps nobody from running."""
    text = json.dumps({"host": socket.gethostname(), "pid": os.getpid()})
    # Made anew: one that stands there may be another file as well, by a hard link.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        (directory / HOLDER).unlink(missing_ok=True)
        descriptor = os.open(directory / HOLDER, flags, 0o644)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def erase_holder(directory: Path) -> None:
    """Take the text away, before the lock is let go."""
    with contextlib.suppress(OSError):
        (directory / HOLDER).unlink()


def read_holder(directory: Path) -> Holder | None:
    """Read who holds the lock; None where the text is missing, torn, or anything else than we write."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(directory / HOLDER, flags)
        try:
            text, written_at = os.read(descriptor, _LONGEST), os.fstat(descriptor).st_mtime
        finally:
            os.close(descriptor)
        said = json.loads(text)
        host, pid = said["host"], said["pid"]
        since = datetime.fromtimestamp(written_at, UTC)
    except (OSError, ValueError, TypeError, LookupError, RecursionError, OverflowError):
        return None
    if type(pid) is not int or not 0 < pid < 2**31 or not isinstance(host, str) or not _HOST.fullmatch(host):
        return None
    return Holder(host, pid, since)


_LOOK_S = 0.1
"""``is_locked`` shares the lock for a moment to try it: whoever only looked must not keep a run out."""
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
"""What systems say of a lock on a file system that has none (NFS: of one that can't be asked for)."""
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


@contextmanager
def lock_run_directory(directory: Path) -> Iterator[None]:
    """Hold the directory, making it where there is none. The kernel drops the locks however their holder dies.

    The directory itself is locked, so that no file in it can be deleted or replaced to let a second run in; and a file
    in it, for file systems that lock no directories (NFS) and for older releases, which know of the file alone.

    Raises ``RunBusyError`` at once where another run holds it, saying who, and ``RunDirectoryError`` where it can't be
    made, holds links, or is open to others: a directory from somebody else must not have us write elsewhere; and where
    its file system has no locks.
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
    return _is_file_locked(directory)


def _take(stack: ExitStack, directory: Path) -> None:
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


def _is_file_locked(directory: Path) -> bool:
    try:
        return not _is_free(directory, os.O_RDONLY)
    except OSError:  # one that is missing, can't be read, or has no locks, shows nothing; no run could hold it
        return False


def _check_locks(directory: Path) -> None:
    """Refuse a file system without locks: ``FileLock`` would make do with a file, which outlives who made it."""
    try:
        _is_free(directory, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise RunDirectoryError(
            f"the file system of {directory} has no file locks, which keep two runs apart: {error.strerror}",
            hint="choose another --out-dir, on another disk; nothing was bought",
        ) from error


def _is_free(directory: Path, flags: int) -> bool:
    """Share the lock for a moment. Raises ``OSError`` where there are no locks, or no such file."""
    descriptor = os.open(directory / DIRECTORY / LOCK, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # some say the second of a lock that is held
        return False
    finally:
        os.close(descriptor)
    return True
