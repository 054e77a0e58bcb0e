"""The files that a glob finds: each folder is looked at once, whatever the pattern, and their number is bounded.

The part before the first wildcard is taken as it is; below it no link to a folder is followed, so that no circle of
links and none that leads to ``/`` is walked. As in a shell, ``*`` and ``**`` pass over names that begin with a dot.
"""

from __future__ import annotations

import errno
import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from crucible_batch.manifest.files import FileFault, Files, quoted

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
