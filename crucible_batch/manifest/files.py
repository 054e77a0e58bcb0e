"""Files that a manifest names: found relative to it, and confined to its directory unless the user widened that.

A manifest may come from somebody else, and its images are uploaded: ``image: ../../.ssh/id_rsa`` would send a key
away. Confinement looks at where a path leads once all symbolic links are followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from crucible_batch.manifest.paths import text_fault

Answer = TypeVar("Answer", Path, str)

MAX_PROMPT_FILE_BYTES = 32 * 1024
# What is dropped from a file (newlines at its end, carriage returns, a byte order mark) doesn't count, within reason.
_MAX_READ = 2 * MAX_PROMPT_FILE_BYTES
# Jobs of a matrix use the same image over and over; a bound keeps the memory flat for a million different ones.
_CACHE_SIZE = 10_000
_MAX_SHOWN = 300


class FileFault(Exception):  # noqa: N818 - it becomes a Problem
    """A file that can't be used. The message says why, ``hint`` what to do."""

    def __init__(self, message: str, *, hint: str | None = None, line: int = 0) -> None:
        super().__init__(message)
        self.hint = hint
        self.line = line


class Files:
    """Finds the files of one manifest. Answers are remembered, so one is made for each expansion.

    ``note`` is told of each prompt file and table, as the manifest names it, before it is read; maybe more than once.
    ``walked`` counts the entries of folders that globs have looked at.
    """

    def __init__(
        self, directory: Path, *, allow_outside: bool, note: Callable[[str, Path], None] = lambda _text, _path: None
    ) -> None:
        self.directory = directory
        self.allow_outside = allow_outside
        self.note = note
        self.walked = 0
        self._root = os.path.realpath(directory)
        self._found: dict[str, Path | FileFault] = {}
        self._prompts: dict[str, str | FileFault] = {}

    def find(self, text: str) -> Path:
        """Return the real path of a readable regular file. Raises ``FileFault``."""
        return _remembered(self._found, text, self._find)

    def prompt(self, text: str) -> str:
        """Return what a prompt file says, without the newlines at its end. Raises ``FileFault``."""
        return _remembered(self._prompts, text, self._read_prompt)

    def is_inside(self, path: str) -> bool:
        """Tell whether a path, once links are followed, is one that the manifest may use."""
        if self.allow_outside:
            return True
        real = os.path.realpath(path)
        return real == self._root or real.startswith(self._root.rstrip(os.sep) + os.sep)

    def _find(self, text: str) -> Path:
        if (fault := text_fault(text)) is not None:
            raise FileFault(f"the path {quoted(text)} {fault[0]}", hint=fault[1])
        joined = os.path.join(self.directory, text)  # noqa: PTH118 - pathlib costs twice the time, a job each
        if not self.is_inside(joined):
            raise FileFault(f"{quoted(text)} leads out of the manifest's directory", hint="--allow-outside permits it")
        try:
            status = os.stat(joined)  # noqa: PTH116
        except OSError as error:
            raise FileFault(f"{quoted(text)} can't be read: {_reason(error)}") from None
        except ValueError:
            raise FileFault(f"{quoted(text)} is no file name") from None
        if not stat.S_ISREG(status.st_mode):
            what = "a directory" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise FileFault(f"{quoted(text)} is {what}")
        if not os.access(joined, os.R_OK):
            raise FileFault(f"{quoted(text)} can't be read: permission denied")
        real = os.path.realpath(joined)
        if (fault := text_fault(real)) is not None:
            raise FileFault(f"{quoted(text)} is the file {quoted(real)}, whose path {fault[0]}", hint=fault[1])
        return Path(real)

    def _read_prompt(self, text: str) -> str:
        path = self.find(text)
        self.note(text, path)
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_READ + 1)
        except OSError as error:
            raise FileFault(f"{quoted(text)} can't be read: {_reason(error)}") from None
        if len(content) > _MAX_READ:
            raise _too_large(text)
        try:
            decoded = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise FileFault(f"{quoted(text)} is not UTF-8 (line {line})") from None
        prompt = decoded.replace("\r\n", "\n").rstrip("\n")
        if len(prompt.encode()) > MAX_PROMPT_FILE_BYTES:
            raise _too_large(text)
        return prompt


def _remembered(cache: dict[str, Answer | FileFault], text: str, find: Callable[[str], Answer]) -> Answer:
    answer = cache.get(text)
    if answer is None:
        try:
            answer = find(text)
        except FileFault as fault:
            answer = fault
        if len(cache) >= _CACHE_SIZE:
            cache.clear()
        cache[text] = answer
    if isinstance(answer, FileFault):
        raise answer.with_traceback(None)  # else each raise would lengthen the remembered one
    return answer


def quoted(text: str) -> str:
    """Write a path as a message holds it: a manifest may name one of 60 KiB."""
    return repr(text) if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]!r}..."


def _too_large(text: str) -> FileFault:
    return FileFault(f"{quoted(text)} is larger than the {MAX_PROMPT_FILE_BYTES // 1024} KiB that a prompt may have")


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
