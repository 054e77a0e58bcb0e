"""Which runs use what they have set aside: each holds the lock of a file beside the account's file.

The lock of a run directory does not show that: a copy that takes the place of the directory is not
locked. The kernel drops the lock of a killed run.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _lock_file(account: Path, run: str) -> Path:
    return account.with_name(f"{account.name}.{run}.active")


@contextmanager
def noted_as_active(account: Path, run: str) -> Iterator[None]:
    """Hold the lock of a run of an account, given by its file, during the block."""
    path = _lock_file(account, run)
    with path.open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield
        finally:
            path.unlink(missing_ok=True)


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
