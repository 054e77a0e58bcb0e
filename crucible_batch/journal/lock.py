"""One run at a time in a run directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from crucible_batch.errors import RunBusyError, RunDirectoryError
from crucible_batch.journal.holder import erase_holder, read_holder, write_holder
from crucible_batch.journal.rights import PRIVATE, check_rights
from crucible_batch.journal.trouble import DIRECTORY

LOCK = "lock"
_LOOK_S = 0.1
"""``is_locked`` takes the lock for a moment to try it: whoever only looked must not keep a run out."""


@contextmanager
def lock_run_directory(directory: Path) -> Iterator[None]:
    """Hold the directory, making it where there is none. The kernel drops the lock however its holder dies.

    Raises ``RunBusyError`` at once where another run holds it, saying who, and ``RunDirectoryError`` where it can't be
    made, is a link, or is open to others: a directory from somebody else must not have us write elsewhere.
    """
    if (directory / DIRECTORY).is_symlink():
        raise RunDirectoryError(
            f"{directory / DIRECTORY} is a link, and none is followed", hint="choose another --out-dir"
        )
    try:
        directory.mkdir(PRIVATE, parents=True, exist_ok=True)
        (directory / DIRECTORY).mkdir(PRIVATE, exist_ok=True)
        check_rights(directory)
        lock = FileLock(directory / DIRECTORY / LOCK)
        lock.acquire(timeout=_LOOK_S, poll_interval=_LOOK_S / 10)
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
    write_holder(directory / DIRECTORY)
    try:
        yield
    finally:
        erase_holder(directory / DIRECTORY)
        lock.release()


def is_locked(directory: Path) -> bool:
    """Tell whether a run holds the directory right now."""
    if not (directory / DIRECTORY / LOCK).exists():
        return False
    lock = FileLock(directory / DIRECTORY / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # a directory that we may only read tells nothing; whoever reads it can't run in it either
        return False
    lock.release()
    return False
