"""What goes wrong with a journal's file, and the one seam where the database's errors become ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crucible_batch.errors import JournalError

DIRECTORY = ".crucible"
FILE = "journal.sqlite3"


@contextmanager
def foreign_errors(directory: Path) -> Iterator[None]:
    """The one seam where the database's errors become ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise _journal_error(error, directory) from error


def _journal_error(error: sqlite3.Error, directory: Path) -> JournalError:
    """A file that is damaged gets no better by trying again; what a full disk held back does."""
    # The low byte is the kind of error; what is above it says more.
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if kind not in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR}:
        return JournalError(
            f"the journal can't be used: {error}",
            hint="see to the disk (full? read-only?) and run the same command again; what was journalled is intact",
        )
    damaged = "is damaged, and no journal any more; nothing was changed"
    what = damaged if kind == sqlite3.SQLITE_NOTADB else f"is damaged: {error}"
    return JournalError(f"{directory / DIRECTORY / FILE} {what}", hint=way_back(directory))


def way_back(directory: Path) -> str:
    """Say what to do about a journal that is damaged."""
    return (
        f"restore it from a copy; or move {directory / DIRECTORY} away and run the manifest again:"
        " receipts.jsonl then restores what was bought"
    )
