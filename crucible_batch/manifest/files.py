"""Files that a manifest names: resolved relative to it, and confined to its directory unless the user allows others.

A manifest may come from another person, and its images are uploaded: ``image: ../../.ssh/id_rsa`` would upload a key.
Paths are checked after all symbolic links are resolved.
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

from crucible_batch.manifest.names import folded, text_fault

Answer = TypeVar("Answer", Path, str)

MAX_PROMPT_FILE_BYTES = 32 * 1024
# Characters that are removed (trailing newlines, carriage returns, a byte order mark) don't count towards the limit,
# but a file larger than this is always rejected.
_MAX_READ = 2 * MAX_PROMPT_FILE_BYTES
_PROMPT_LIMIT = f"{MAX_PROMPT_FILE_BYTES // 1024} KiB, the limit for a prompt file"
# Jobs of a matrix share images; the bound limits memory if a million jobs have one each.
_CACHE_SIZE = 10_000
_MAX_SHOWN = 300


class FileFault(Exception):  # noqa: N818 - it becomes a Problem
    """A file that can't be used. The message is the reason, ``hint`` the remedy.

    ``is_outside``: it is outside the manifest's directory, as the other files of a table probably are. ``nearest`` is
    the path of the file that is probably meant.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, is_outside: bool = False, nearest: str | None = None
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.is_outside = is_outside
        self.nearest = nearest


class Files:
    """The files of one manifest. Results are cached, so each expansion needs its own instance.

    ``walked`` counts the directory entries that globs have visited.
    """

    def __init__(self, directory: Path, *, allow_outside: bool) -> None:
        self.directory = directory
        self.allow_outside = allow_outside
        self.walked = 0
        self._root = os.path.realpath(directory)
        self._found: dict[str, Path | FileFault] = {}
        self._prompts: dict[str, str | FileFault] = {}
        self._folders: dict[str, dict[str, str]] = {}

    def find(self, text: str) -> Path:
        """Return the real path of a readable regular file. Raises ``FileFault``."""
        return _remembered(self._found, text, self._find)

    def find_optional(self, text: str) -> Path | None:
        """Return what ``find`` does; None if nothing is there yet. Raises ``FileFault``."""
        path = self.target(text)
        return self.find(text) if os.path.lexists(path) else None

    def target(self, text: str) -> Path:
        """Return the path of a file that may be missing, with its folder's links resolved. Raises ``FileFault``."""
        joined = self._joined(text)
        return Path(os.path.realpath(os.path.dirname(joined)), os.path.basename(joined))  # noqa: PTH119, PTH120

    def prompt(self, text: str) -> str:
        """Return the text of a prompt file without trailing newlines. Raises ``FileFault``."""
        return _remembered(self._prompts, text, self._read_prompt)

    def is_inside(self, path: str) -> bool:
        """Return whether the manifest may use a path, with links resolved."""
        if self.allow_outside:
            return True
        real = os.path.realpath(path)
        return real == self._root or real.startswith(self._root.rstrip(os.sep) + os.sep)

    def _joined(self, text: str) -> str:
        if (fault := text_fault(text)) is not None:
            raise FileFault(f"the path {quoted(text)} {fault[0]}", hint=fault[1])
        joined = os.path.join(self.directory, text)  # noqa: PTH118 - pathlib takes twice the time, for every job
        if not self.is_inside(joined):
            message = f"{quoted(text)} is outside the manifest's directory"
            raise FileFault(message, hint="--allow-outside permits it", is_outside=True)
        return joined

    def _find(self, text: str) -> Path:
        joined = self._joined(text)
        try:
            status = os.stat(joined)  # noqa: PTH116
        except OSError as error:
            nearest = (
                self._spelled_otherwise(text) if isinstance(error, FileNotFoundError | NotADirectoryError) else None
            )
            raise FileFault(f"{quoted(text)} can't be read: {_reason(error)}", nearest=nearest) from None
        except ValueError:
            raise FileFault(f"{quoted(text)} is not a valid file name") from None
        if not stat.S_ISREG(status.st_mode):
            what = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise FileFault(f"{quoted(text)} is {what}")
        if not os.access(joined, os.R_OK):
            raise FileFault(f"{quoted(text)} can't be read: permission denied")
        real = os.path.realpath(joined)
        if (fault := text_fault(real)) is not None:
            raise FileFault(f"{quoted(text)} is the file {quoted(real)}, whose path {fault[0]}", hint=fault[1])
        return Path(real)

    def _spelled_otherwise(self, text: str) -> str | None:
        """Return the path of a file that differs in case, or in slashes for backslashes; None if there is none."""
        found = ""
        for part in text.replace("\\", "/").split("/"):
            folder = os.path.join(self.directory, found)  # noqa: PTH118
            if not self.is_inside(folder):
                return None
            name = part if part in {"", ".", ".."} else self._entries(folder).get(folded(part))
            if name is None:
                return None
            found = os.path.join(found, name)  # noqa: PTH118
        path = os.path.join(self.directory, found)  # noqa: PTH118
        return found if self.is_inside(path) and os.path.isfile(path) else None  # noqa: PTH113

    def _entries(self, folder: str) -> dict[str, str]:
        """Return the names in a folder by what identifies them; none if it can't be read."""
        if folder not in self._folders:
            try:
                names = sorted(os.listdir(folder))  # noqa: PTH208
            except OSError:
                names = []
            self._folders[folder] = {folded(name): name for name in names}
        return self._folders[folder]

    def _read_prompt(self, text: str) -> str:
        prompt = read_text(self.find(text), text, _MAX_READ, _PROMPT_LIMIT).replace("\r\n", "\n").rstrip("\n")
        if len(prompt.encode()) > MAX_PROMPT_FILE_BYTES:
            raise _too_large(text, _PROMPT_LIMIT)
        return prompt


def read_text(path: Path, text: str, most: int, limit: str) -> str:
    """Return the text of a file of at most ``most`` bytes. Raises ``FileFault``.

    For messages, ``text`` is the path in the manifest, and ``limit`` the limit in words.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise FileFault(f"{quoted(text)} can't be read: {_reason(error)}") from None
    if len(content) > most:
        raise _too_large(text, limit)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileFault(f"{quoted(text)} is not UTF-8 (line {line})") from None


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
        raise answer.with_traceback(None)  # otherwise each raise would extend the cached traceback
    return answer


def quoted(text: str) -> str:
    """Quote and shorten a path for a message."""
    return repr(text) if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]!r}..."


def _too_large(text: str, limit: str) -> FileFault:
    return FileFault(f"{quoted(text)} is larger than {limit}")


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


MAX_WALKED = 2_000_000
"""Directory entries that the globs of one expansion may visit; that takes some seconds."""

_MAGIC = frozenset("*?[")
_ANY_DEPTH = "**"
_PASSED_OVER = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM})


def is_glob(source: str) -> bool:
    return not _MAGIC.isdisjoint(source)


def matches(pattern: str, files: Files, most: int) -> Iterator[str]:
    """Yield each matching file once, relative to the manifest's directory, unordered.

    Directories that are missing or may not be read are skipped. Raises ``FileFault`` if the pattern is outside the
    manifest's directory, if a directory can't be read for another reason, or if all globs of the expansion together
    visit more entries than ``MAX_WALKED`` and twice ``most``, whichever is larger.
    """
    parts = PurePosixPath(pattern).parts
    first = next(at for at, part in enumerate(parts) if is_glob(part))
    base = os.path.join("", *parts[:first])  # noqa: PTH118 - matches are text
    if not files.is_inside(os.path.join(files.directory, base)):  # noqa: PTH118
        raise FileFault(f"{quoted(pattern)} is outside the manifest's directory", hint="--allow-outside permits it")
    if pattern.endswith("/"):
        return  # matches directories only
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
    """A pattern split into parts. A state is the index of the next part to match."""

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
        """Return the states and those after ``**``, since ``**`` also matches zero directories."""
        closed = set[int]()
        for state in states:
            at = state
            closed.add(at)
            while self.parts[at] == _ANY_DEPTH and at + 1 < len(self.parts):
                at += 1
                closed.add(at)
        return frozenset(closed)

    def step(self, states: frozenset[int], entry: os.DirEntry[str]) -> tuple[frozenset[int], bool]:
        """Return the states for the contents of an entry, and whether the entry matches the complete pattern."""
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
                f"{quoted(self.pattern)}: there are more than {self.most:,} files and folders to search",
                hint="use a more specific pattern, such as photos/*.jpg",
            )


def _fits(name: str, part: str) -> bool:
    if not is_glob(part):
        return name == part
    if name.startswith(".") and not part.startswith("."):
        return False
    return part == _ANY_DEPTH or fnmatch.fnmatchcase(name, part)


def _is(entry: os.DirEntry[str], kind: str) -> bool:
    """Return whether an entry is of ``kind`` "file" or "folder". Links to files are followed, links to folders not."""
    try:
        return entry.is_file() if kind == "file" else entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
