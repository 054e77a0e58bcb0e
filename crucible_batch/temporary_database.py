"""Unnamed temporary databases, for what is too much to keep in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from crucible_batch.errors import UserError


def temporary_database(*statements: str) -> sqlite3.Connection:
    """Return an empty database, after executing ``statements``. Any thread may use it.

    SQLite creates its file once its cache is full, and unlinks it immediately, so a killed process
    leaves none behind.
    """
    connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for setting in ("temp_store = FILE", "synchronous = OFF", "journal_mode = OFF"):
        connection.execute(f"PRAGMA {setting}")
    for statement in statements:
        connection.execute(statement)
    return connection


@contextmanager
def room_for(what: str) -> Iterator[None]:
    """Raise ``UserError`` for an error of a temporary database, such as a full disk."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise UserError(
            f"{what} can't be stored in the temporary directory: {error}",
            hint="free some space there, or set TMPDIR to another directory; nothing was spent",
        ) from error
