"""The journal's database: one SQLite file in WAL mode, with every commit synced.

SQLite would create its tables in any database, so a file is used only if it is a journal, or empty.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import resources
from pathlib import Path

from crucible_batch.errors import JournalError
from crucible_batch.journal.safe_files import DIRECTORY, FILE, refuse_links, sync_names

FORMAT = 1
_TABLES = frozenset({"meta", "migrations", "events", "plan", "retired", "runs"})


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open a journal, creating its file if needed.

    Raises ``JournalError`` if it is not one, and ``sqlite3.Error``.
    """
    mode = _reading_mode(path) if read_only else "rwc"
    connection = _connect(path, mode)
    try:
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("PRAGMA trusted_schema = OFF")
        _check_ours(connection, path)  # before the journal mode, which is written into the file
        if read_only:
            connection.execute("PRAGMA query_only = ON")
        else:
            connection.execute("PRAGMA journal_mode = WAL")
            # With NORMAL, a power cut loses the last commits, which may hold an intent that spends
            # money.
            connection.execute("PRAGMA synchronous = FULL")
            # On macOS, fsync leaves the data in the disk's cache; elsewhere this has no effect.
            connection.execute("PRAGMA fullfsync = ON")
    except (sqlite3.Error, UnicodeDecodeError, JournalError):
        connection.close()
        raise
    return connection


def is_created(connection: sqlite3.Connection) -> bool:
    """Whether a journal has its tables."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return bool(version)


def create_tables(connection: sqlite3.Connection, path: Path, *, now: float) -> None:
    """Create the tables of a journal, unless it has them, and make its name durable before."""
    if is_created(connection):
        return
    sync_names(path)  # first, so that it is repeated if it fails
    schema = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    with transaction(connection):
        for statement in schema.split(";\n"):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO migrations (format, applied_at) VALUES (?, ?)", (FORMAT, now)
        )
        connection.execute(f"PRAGMA user_version = {FORMAT}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Store all writes of the block, or after an error none of them. May be nested."""
    is_nested: bool = connection.in_transaction
    if is_nested:
        yield
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk ends a transaction by itself
            connection.execute("ROLLBACK")
        raise


def has_journal(directory: Path) -> bool:
    """Whether a directory has a journal. Raises ``RunDirectoryError`` as ``refuse_links`` does.

    A file without tables does not count: its run was killed before it created them, and the next
    run will.
    """
    refuse_links(directory)
    path = directory / DIRECTORY / FILE
    if not path.is_file():
        return False
    try:
        # Only SQLite may open the file: closing another descriptor drops all locks that this
        # process has on it.
        with closing(_connect(path, _reading_mode(path))) as connection:
            return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    except (sqlite3.Error, UnicodeDecodeError):
        return True  # an error when it is read


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None)


def _reading_mode(path: Path) -> str:
    """Return the mode of the SQLite URI in which a journal is opened for reading."""
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        # With write access, the last connection to close removes the write-ahead log.
        return "rw"
    if path.with_name(f"{FILE}-wal").exists():
        return "ro"
    # Without a log there is no writer; and in a read-only directory SQLite can't create the files
    # of WAL mode.
    return "ro&immutable=1"


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    """Raise ``JournalError`` if a database is not a journal that this release can use.

    An empty one is accepted.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    query = "SELECT name, type FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~'"
    objects = list(connection.execute(query))
    if not objects and not version:
        return
    tables = {name for name, kind in objects if kind == "table"}
    if not tables & _TABLES:
        raise JournalError(
            f"{path} is a database of another program, not a journal; nothing was written to it",
            hint="move it away, or choose another --out-dir",
        )
    if version > FORMAT:
        raise JournalError(
            f"{path} was written by a newer release "
            f"(format {version}; this one reads up to {FORMAT})",
            hint="upgrade crucible-batch",
        )
    missing = ", ".join(sorted(_TABLES - tables))
    if missing:
        raise JournalError(
            f"{path} is damaged: it has no table {missing}; nothing was changed",
            hint=_way_back(path.parent.parent),
        )


@contextmanager
def foreign_errors(directory: Path) -> Iterator[None]:
    """Convert errors of the database in the block to ``JournalError``."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # UnicodeDecodeError: names in the schema that aren't UTF-8.
        raise _journal_error(error, directory) from error


def _journal_error(error: sqlite3.Error | UnicodeDecodeError, directory: Path) -> JournalError:
    """Return the error with a hint.

    A damaged file must be restored, while after a full disk a retry can succeed.
    """
    # The low byte is the primary error code; the bits above it are details.
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
    damages = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR}
    if isinstance(error, sqlite3.Error) and kind not in damages:
        return JournalError(
            f"the journal can't be used: {error}",
            hint=(
                "check the disk (full? read-only?) and run the same command again; "
                "all journalled events are intact"
            ),
        )
    what = f"is damaged: {error}"
    if kind == sqlite3.SQLITE_NOTADB:
        what = "is damaged and can't be read as a journal; nothing was changed"
    return JournalError(f"{directory / DIRECTORY / FILE} {what}", hint=_way_back(directory))


def _way_back(directory: Path) -> str:
    """Return the hint for a damaged journal."""
    return (
        f"restore it from a backup; or move {directory / DIRECTORY} away "
        "and run the manifest again, which restores the jobs from receipts.jsonl"
    )
