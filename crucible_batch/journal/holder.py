"""Who holds a run directory, written beside its lock: for the message alone, never for a decision."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

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
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(OSError):
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
