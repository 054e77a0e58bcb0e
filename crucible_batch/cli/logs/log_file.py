"""A log file: created for its owner only, appended to, and rotated by size."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import stat
import sys
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler, WatchedFileHandler
from pathlib import Path

from crucible_batch.errors import UserError

_HEADS = (re.compile(rb'\s*\{"time": "'), re.compile(rb"\s*\d{4}-\d\d-\d\dT"))
"""How the first line of a log begins."""
_LONGEST_HEAD = 16
_OPTION = "--log-file"


class LogFile(RotatingFileHandler, WatchedFileHandler):
    """An open log file.

    Lines are lost rather than that a run ends: ``missing`` counts them, ``reason`` is why. It is
    rotated before a line would make it longer than ``max_bytes``, by one process at a time, and
    ``keep`` older ones are kept. If another process has rotated, moved or deleted the file, the
    next line opens the one at ``path``.

    Raises ``UserError`` if the path is a link, not a regular file, not a log, or can't be opened.
    """

    def __init__(self, path: Path, *, max_bytes: int = 10 * 1024 * 1024, keep: int = 5) -> None:
        _check(path)
        self.path = path
        self.missing = 0
        self.reason: str | None = None
        self.dev = self.ino = -1
        try:
            super().__init__(path, maxBytes=max_bytes, backupCount=keep)
        except OSError as error:
            raise _refusal(path, f"can't be opened: {error.strerror}") from error

    def write(self, line: str) -> bool:
        """Append a line, and return whether it was written. Never raises ``OSError``."""
        before = self.missing
        self.emit(logging.makeLogRecord({"msg": line}))
        return self.missing == before

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.reopenIfNeeded()
        except OSError:
            self.handleError(record)
        else:
            super().emit(record)

    def doRollover(self) -> None:  # noqa: N802 - the names are those of ``logging``
        assert self.stream is not None  # ``shouldRollover`` has opened it
        lock = os.dup(self.stream.fileno())
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(self.baseFilename)):  # noqa: PTH116
                super().doRollover()
        # Another process rotates it, or may not write the directory: the line goes into the old
        # file.
        except OSError:
            pass
        finally:
            os.close(lock)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as above
        """Count a line as lost, and drop what is left of it in the buffer."""
        error = sys.exc_info()[1]
        self.missing += 1
        self.reason = getattr(error, "strerror", None) or str(error)
        # ``FileHandler`` opens it again for the next line.
        stream, self.stream = self.stream, None
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()

    def _open(self) -> TextIOWrapper:
        return open(
            self.baseFilename,
            "a",
            encoding="utf-8",
            errors="backslashreplace",
            opener=_regular_file,
        )


def _regular_file(path: str, flags: int) -> int:
    opened = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(0, "not a regular file")
    return opened


def _check(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise _refusal(path, "is a symbolic link, which is not followed")
        if not stat.S_ISREG(mode):
            raise _refusal(path, "is not a regular file")
        with path.open("rb") as file:
            head = file.read(_LONGEST_HEAD)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise _refusal(path, "can't be created: its directory does not exist") from None
        return
    except OSError as error:
        raise _refusal(path, f"can't be read: {error.strerror}") from error
    # A log that begins on a full disk may have a part of its first line only.
    if len(head) == _LONGEST_HEAD and not any(kind.match(head) for kind in _HEADS):
        raise _refusal(path, "exists and is not a log of crucible-batch; nothing was written to it")


def _refusal(path: Path, what: str) -> UserError:
    return UserError(f"{path} {what}", hint=f"give another file with {_OPTION}")
