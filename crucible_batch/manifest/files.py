"""Files that a manifest names: found relative to it, and confined to its directory unless the user widened that.

A manifest may come from somebody else, and its images are uploaded: ``image: ../../.ssh/id_rsa`` would send a key
away. Confinement looks at where a path leads once all symbolic links are followed.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from crucible_batch.manifest.names import text_fault

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


MAX_WALKED = 2_000_000
"""Entries of folders that one expansion looks at: some seconds' worth."""

_MAGIC = frozenset("*?[")
_ANY_DEPTH = "**"
_PASSED_OVER = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM})


def is_glob(source: str) -> bool:
    return not _MAGIC.isdisjoint(source)


def matches(pattern: str, files: Files, most: int) -> Iterator[str]:
    """Yield the paths of the files that fit, relative to the manifest's directory, in no order. Each once.

    Raises ``FileFault`` for a pattern that leads out of it or has too much to walk through: more entries than
    ``MAX_WALKED``, or twice ``most``, in all globs of the expansion together.
    """
    parts = PurePosixPath(pattern).parts
    first = next(at for at, part in enumerate(parts) if is_glob(part))
    base = os.path.join("", *parts[:first])  # noqa: PTH118 - text is what sorts
    if not files.is_inside(os.path.join(files.directory, base)):  # noqa: PTH118
        raise FileFault(f"{quoted(pattern)} leads out of the manifest's directory", hint="--allow-outside permits it")
    if pattern.endswith("/"):
        return  # it asks for folders
    walk = _Walk(pattern, parts[first:], files, max(MAX_WALKED, 2 * most))
    pending = [(base, walk.closed({0}))]
    while pending:
        folder, states = pending.pop()
        for entry in walk.entries(folder):
            path = os.path.join(folder, entry.name)  # noqa: PTH118
            deeper, is_match = walk.step(states, entry)
            if is_match and _is(entry, "file"):
                yield path
            if deeper and _is(entry, "folder"):
                pending.append((path, deeper))


@dataclass(slots=True)
class _Walk:
    """A pattern's parts, of which a state is the index of the first that is still to be matched."""

    pattern: str
    parts: tuple[str, ...]
    files: Files
    most: int

    def entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(os.path.join(self.files.directory, folder)) as found:  # noqa: PTH118
                for entry in found:
                    self._count()
                    yield entry
        except OSError as error:
            if error.errno not in _PASSED_OVER:
                why = error.strerror or type(error).__name__
                raise FileFault(f"{quoted(self.pattern)}: the folder {quoted(folder)} can't be read: {why}") from None

    def closed(self, states: set[int]) -> frozenset[int]:
        """Add the states behind ``**``, which stands for no folder too."""
        closed = set[int]()
        for state in states:
            at = state
            closed.add(at)
            while self.parts[at] == _ANY_DEPTH and at + 1 < len(self.parts):
                at += 1
                closed.add(at)
        return frozenset(closed)

    def step(self, states: frozenset[int], entry: os.DirEntry[str]) -> tuple[frozenset[int], bool]:
        """Return the states within an entry, were it a folder, and whether it fits the whole pattern."""
        deeper, is_match, last = set[int](), False, len(self.parts) - 1
        fits: dict[str, bool] = {}
        for state in states:
            part = self.parts[state]
            if part not in fits:
                fits[part] = _fits(entry.name, part)
            if fits[part]:
                is_match = is_match or state == last
                if part == _ANY_DEPTH:
                    deeper.add(state)
                elif state < last:
                    deeper.add(state + 1)
        return self.closed(deeper), is_match

    def _count(self) -> None:
        self.files.walked += 1
        if self.files.walked > self.most:
            raise FileFault(
                f"{quoted(self.pattern)}: there are more than {self.most:,} files and folders to look through",
                hint="name the folders that are meant, such as photos/*.jpg",
            )


def _fits(name: str, part: str) -> bool:
    if not is_glob(part):
        return name == part
    if name.startswith(".") and not part.startswith("."):
        return False
    return part == _ANY_DEPTH or fnmatch.fnmatchcase(name, part)


def _is(entry: os.DirEntry[str], kind: str) -> bool:
    """Tell what an entry is; a link may stand for a file, and never for a folder."""
    try:
        return entry.is_file() if kind == "file" else entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
