"""Which runs use what they have set aside: each holds the lock of a file beside the account's file.

The lock of a run directory does not show that: a copy that takes the place of the directory is not
locked. The kernel drops the lock of a killed run.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def _lock_file(account: Path, run: str) -> Path:
    return account.with_name(f"{account.name}.{run}.active")


@contextmanager
def noted_as_active(account: Path, run: str) -> Iterator[None]:
    """Hold the lock of a run of an account, given by its file, during the block.

    Two processes with copies of one run directory may hold it at the same time, until the account
    refuses one of them: the last one deletes the file.
    """
    path = _lock_file(account, run)
    with _locked(path) as file:
        try:
            yield
        finally:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)


def _locked(path: Path) -> BinaryIO:
    """Return the file with its lock. One that was deleted meanwhile is created again."""
    while True:
        file = path.open("wb")
        fcntl.flock(file, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                return file
        file.close()


def is_active(account: Path, run: str) -> bool:
    """Whether a process holds the lock of a run of an account, given by its file."""
    try:
        with _lock_file(account, run).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
