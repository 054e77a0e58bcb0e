"""Files that a manifest names: resolved relative to it, and confined to its directory unless the
user allows others.

A manifest may come from another person, and its images are uploaded: ``image: ../../.ssh/id_rsa``
would upload a key. Paths are checked after all symbolic links are resolved.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath

from crucible_batch.atomic_files import open_at_once
from crucible_batch.manifest.names import folded, text_fault

MAX_PROMPT_FILE_BYTES = 32 * 1024
# Characters that are removed (trailing newlines, carriage returns, a byte order mark) don't count
# towards the limit, but a file larger than this is always rejected.
_MAX_READ = 2 * MAX_PROMPT_FILE_BYTES
_PROMPT_LIMIT = f"{MAX_PROMPT_FILE_BYTES // 1024} KiB, the limit for a prompt file"
# Jobs of a matrix share images; the bound limits memory if a million jobs have one each.
_CACHE_SIZE = 10_000
_MAX_SHOWN = 300


class FileFault(Exception):  # noqa: N818 - it becomes a Problem
    """A file that can't be used. The message is the reason, ``hint`` the remedy.

    ``nearest`` is the path of the file that is probably meant.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, nearest: str | None = None
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.nearest = nearest


class Files:
    """The files of one manifest. Results are cached, so each expansion needs its own instance."""

    def __init__(self, directory: Path, *, allow_outside: bool) -> None:
        self.directory = directory
        self.allow_outside = allow_outside
        self._root = os.path.realpath(directory)
        self.find = lru_cache(_CACHE_SIZE)(self._find)
        """Return the real path of a readable regular file. Raises ``FileFault``."""
        self.prompt = lru_cache(_CACHE_SIZE)(self._read_prompt)
        """Return the text of a prompt file without trailing newlines. Raises ``FileFault``."""
        self._folders: dict[str, dict[str, str]] = {}

    def find_optional(self, text: str) -> Path | None:
        """Return what ``find`` does; None if nothing is there yet. Raises ``FileFault``."""
        if not os.path.lexists(self.target(text)):
            return None
        return self.find(text)

    def target(self, text: str) -> Path:
        """Return the path of a file that may be missing, with its folder's links resolved.

        Raises ``FileFault``.
        """
        joined = self._joined(text)
        folder, name = os.path.split(joined)
        return Path(os.path.realpath(folder), name)

    def is_inside(self, path: str) -> bool:
        """Return whether the manifest may use a path, with links resolved."""
        if self.allow_outside:
            return True
        real = os.path.realpath(path)
        return real == self._root or real.startswith(self._root.rstrip(os.sep) + os.sep)

    def _joined(self, text: str) -> str:
        fault = text_fault(text)
        if fault is not None:
            raise FileFault(f"the path {quoted(text)} {fault[0]}", hint=fault[1])
        # With pathlib this takes twice the time, for every job.
        joined = os.path.join(self.directory, text)  # noqa: PTH118
        if not self.is_inside(joined):
            message = f"{quoted(text)} is outside the manifest's directory"
            raise FileFault(message, hint="--allow-outside permits it")
        return joined

    def _find(self, text: str) -> Path:
        joined = self._joined(text)
        try:
            status = os.stat(joined)  # noqa: PTH116
        except OSError as error:
            nearest = None
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                nearest = self._spelled_otherwise(text)
            message = f"{quoted(text)} can't be read: {_reason(error)}"
            raise FileFault(message, nearest=nearest) from None
        if stat.S_ISDIR(status.st_mode):
            raise FileFault(f"{quoted(text)} is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise FileFault(f"{quoted(text)} is not a regular file")
        if not os.access(joined, os.R_OK):
            raise FileFault(f"{quoted(text)} can't be read: permission denied")
        real = os.path.realpath(joined)
        fault = text_fault(real)
        if fault is not None:
            raise FileFault(
                f"{quoted(text)} is the file {quoted(real)}, whose path {fault[0]}", hint=fault[1]
            )
        return Path(real)

    def _spelled_otherwise(self, text: str) -> str | None:
        """Return the path of a file that differs in case, or in slashes for backslashes; None if
        there is none."""
        found = ""
        for part in text.replace("\\", "/").split("/"):
            folder = os.path.join(self.directory, found)  # noqa: PTH118
            if not self.is_inside(folder):
                return None
            name: str | None = part
            if part not in {"", ".", ".."}:
                name = self._entries(folder).get(folded(part))
            if name is None:
                return None
            found = os.path.join(found, name)  # noqa: PTH118
        path = os.path.join(self.directory, found)  # noqa: PTH118
        if self.is_inside(path) and os.path.isfile(path):  # noqa: PTH113
            return found
        return None

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
        prompt = (
            read_text(self.find(text), text, _MAX_READ, _PROMPT_LIMIT)
            .replace("\r\n", "\n")
            .rstrip("\n")
        )
        if len(prompt.encode()) > MAX_PROMPT_FILE_BYTES:
            raise _too_large(text, _PROMPT_LIMIT)
        return prompt


def read_text(path: Path, text: str, most: int, limit: str) -> str:
    """Return the text of a file of at most ``most`` bytes. Raises ``FileFault``.

    For messages, ``text`` is the path in the manifest, and ``limit`` the limit in words.
    """
    try:
        with open(path, "rb", opener=open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FileFault(f"{quoted(text)} is not a regular file")
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


def quoted(text: str) -> str:
    """Quote and shorten a path for a message."""
    if len(text) > _MAX_SHOWN:
        return f"{text[:_MAX_SHOWN]!r}..."
    return repr(text)


def _too_large(text: str, limit: str) -> FileFault:
    return FileFault(f"{quoted(text)} is larger than {limit}")


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


_MAGIC = frozenset("*?[")
_ANY_DEPTH = "**"


def is_glob(source: str) -> bool:
    return not _MAGIC.isdisjoint(source)


def matches(pattern: str, files: Files) -> Iterator[str]:
    """Yield each matching file once, relative to the manifest's directory, unordered.

    Directories that may not be read are skipped, and hidden names unless a part of the pattern
    begins with a dot. ``**`` follows no links to directories. Raises ``FileFault`` if the pattern
    is outside the manifest's directory or can't be searched for.
    """
    parts = PurePosixPath(pattern).parts
    first = next(at for at, part in enumerate(parts) if is_glob(part))
    base, rest = Path(*parts[:first]), parts[first:]
    if not files.is_inside(os.path.join(files.directory, base)):  # noqa: PTH118
        raise FileFault(
            f"{quoted(pattern)} is outside the manifest's directory",
            hint="--allow-outside permits it",
        )
    if rest.count(_ANY_DEPTH) > 1:  # each would search all folders below each folder
        raise FileFault(
            f"{quoted(pattern)} has more than one **", hint="write one ** for folders of any depth"
        )
    if pattern.endswith("/"):
        return  # matches directories only
    if rest[-1] == _ANY_DEPTH:
        rest = (*rest, "*")
    takes_hidden = any(part.startswith(".") for part in rest)
    root = files.directory / base
    try:
        for path in root.glob("/".join(rest)):
            found = path.relative_to(root)
            is_hidden = any(part.startswith(".") for part in found.parts)
            if (takes_hidden or not is_hidden) and path.is_file():
                yield str(base / found)
    except (OSError, ValueError, RecursionError) as error:
        raise FileFault(f"{quoted(pattern)} can't be searched for: {str(error)[:200]}") from None
