"""The run directories below a directory, each with the key that stands for it in an address."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

_DEPTH = 2
"""``outputs/NAME/RUN_ID`` lies two below ``outputs``. Deeper there are pictures only."""
_JOURNAL = Path(".crucible/journal.sqlite3")


def find_runs(root: Path) -> Mapping[str, Path]:
    """Return the run directories at and below ``root``. No link is followed, and what can't be read is passed over.

    A key is made of the place below ``root``, so that no address holds a path.
    """
    return {_key(path, root): path for path in _found(root, _DEPTH)}


def journal_files(directory: Path) -> tuple[Path, Path]:
    """Return the files that a journal consists of: a look at when they changed needs no database."""
    journal = directory / _JOURNAL
    return journal, journal.with_name(f"{journal.name}-wal")


def _key(path: Path, root: Path) -> str:
    return hashlib.sha256(path.relative_to(root).as_posix().encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _found(directory: Path, depth: int) -> Iterator[Path]:
    if _is_run(directory):
        yield directory
        return
    if depth:
        for child in _folders(directory):
            yield from _found(child, depth - 1)


def _is_run(directory: Path) -> bool:
    hidden, journal = directory / _JOURNAL.parent, directory / _JOURNAL
    try:
        return journal.is_file() and not journal.is_symlink() and not hidden.is_symlink()
    except OSError:
        return False


def _folders(directory: Path) -> list[Path]:
    try:
        children = [child for child in directory.iterdir() if not child.name.startswith(".")]
        return sorted(child for child in children if child.is_dir() and not child.is_symlink())
    except OSError:
        return []
