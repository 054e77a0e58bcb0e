"""A log file: created for its owner only, appended to, and rotated by size, also by several processes."""

from __future__ import annotations

import fcntl
import os
import re
import stat
from pathlib import Path

from crucible_batch.errors import UserError

_HEADS = (re.compile(rb'\s*\{"time": "'), re.compile(rb"\s*\d{4}-\d\d-\d\dT"))
"""How the first line of a log begins."""
_LONGEST_HEAD = 16
_OPTION = "--log-file"


class LogFile:
    """An open log file. Lines are lost rather than that a run ends: ``missing`` counts them, ``reason`` is why.

    Before a line would make it longer than ``max_bytes``, the file becomes ``PATH.1``, that one ``PATH.2``, and so on;
    ``keep`` of them are kept. A rotation takes a lock on the file and gives way to another process that has it. Each
    line is one write in append mode, and a process that finds another file at ``PATH`` opens that one.

    Raises ``UserError`` if the path is a link, not a regular file, not a log, or can't be opened.
    """

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        self.path = path
        self.missing = 0
        self.reason: str | None = None
        self._max_bytes = max_bytes
        self._keep = keep
        self._is_torn = False
        self._may_rotate = True
        self._check()
        try:
            self._file = _open(path)
        except OSError as error:
            raise _refusal(path, f"can't be opened: {error.strerror}") from error

    def write(self, line: str) -> bool:
        """Append a line, and return whether it was written. Never raises ``OSError``."""
        content = line.encode("utf-8", "backslashreplace") + b"\n"
        try:
            self._follow()
            if self._is_full(len(content)):
                self._rotate()
            self._append(content)
        except OSError as error:
            self.missing += 1
            self.reason = error.strerror or str(error)
            return False
        return True

    def close(self) -> None:
        os.close(self._file)

    def _check(self) -> None:
        try:
            mode = self.path.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise _refusal(self.path, "is a symbolic link, which is not followed")
            if not stat.S_ISREG(mode):
                raise _refusal(self.path, "is not a regular file")
            with self.path.open("rb") as file:
                head = file.read(_LONGEST_HEAD)
        except FileNotFoundError:
            if not self.path.parent.is_dir():
                raise _refusal(self.path, "can't be created: its directory does not exist") from None
            return
        except OSError as error:
            raise _refusal(self.path, f"can't be read: {error.strerror}") from error
        # A log that begins on a full disk may have a part of its first line only.
        if len(head) == _LONGEST_HEAD and not any(kind.match(head) for kind in _HEADS):
            raise _refusal(self.path, "exists and is not a log of crucible-batch; nothing was written to it")

    def _follow(self) -> None:
        """Open the file at the path if another process has rotated, moved or deleted the open one."""
        if not self._is_at_path():
            opened = _open(self.path)
            os.close(self._file)
            self._file = opened

    def _is_at_path(self) -> bool:
        try:
            there, here = os.lstat(self.path), os.fstat(self._file)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def _is_full(self, more: int) -> bool:
        size = os.fstat(self._file).st_size
        return self._may_rotate and size > 0 and size + more > self._max_bytes

    def _rotate(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another process rotates it; this line still goes into the old file
            return
        if not self._is_at_path():  # it was rotated just before the lock
            self._follow()
            return
        try:
            for number in range(self._keep - 1, 0, -1):
                if (older := self._numbered(number)).exists():
                    older.replace(self._numbered(number + 1))
            self.path.replace(self._numbered(1))
        except OSError:  # such as a directory without the right to write: the file grows instead
            self._may_rotate = False
            return
        mode = stat.S_IMODE(os.fstat(self._file).st_mode)
        opened = _open(self.path)
        os.fchmod(opened, mode)
        os.close(self._file)  # releases the lock
        self._file = opened

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _append(self, content: bytes) -> None:
        if self._is_torn:
            content = b"\n" + content
        written = 0
        try:
            while written < len(content):
                written += os.write(self._file, content[written:])
        finally:
            self._is_torn = written < len(content) if written else self._is_torn


def _open(path: Path) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    opened = os.open(path, flags, 0o600)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(0, "not a regular file")
    return opened


def _refusal(path: Path, what: str) -> UserError:
    return UserError(f"{path} {what}", hint=f"give another file with {_OPTION}")
