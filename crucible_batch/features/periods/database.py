"""The file of an account as a database: creation, transactions, checks, errors.

The file is in rollback mode, not WAL, so that it works on network file systems with locks, with
``synchronous=EXTRA``: with ``FULL``, a power cut right after a commit can revert it, and credits
that a run has set aside would be free again.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from crucible_batch.errors import BudgetAccountError
from crucible_batch.features.periods.records import AccountTerms

_APPLICATION_ID = 0x43424131
"""Marks the file as ours, in the header of the database ("CBA1")."""
FORMAT = 2
_BUSY_S = 30.0

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE shares (
    run        TEXT PRIMARY KEY,     -- the id that the run's journal has for this purpose
    run_dir    TEXT NOT NULL,
    manifest   TEXT NOT NULL,
    events     INTEGER NOT NULL,     -- the number of the journal's last event that is counted
    unanswered TEXT NOT NULL,        -- credits that may be charged in any later period
    changed_at REAL NOT NULL,
    newest     TEXT,                 -- the id of its newest allowance, also in its journal
    allowance  TEXT,                 -- the same while it is set aside; NULL if the run is settled
    since      REAL,
    first      TEXT,                 -- the period in which it was set aside
    spent      TEXT,                 -- of that period, with certainty, at that time
    set_aside  TEXT,
    divided    INTEGER               -- 1: for shards, which don't use this file
) WITHOUT ROWID;
CREATE TABLE spent (                 -- by settled runs, in each period
    run     TEXT NOT NULL,
    first   TEXT NOT NULL,
    credits TEXT NOT NULL,
    PRIMARY KEY (run, first)
) WITHOUT ROWID;
"""


@contextmanager
def transaction(path: Path, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """Open the file for one transaction. Raises ``BudgetAccountError``."""
    with reported(path):
        _check_file(path)
        # A reader with write access rolls back what a killed process left.
        is_writable = write or os.access(path, os.W_OK)
        mode = "rw" if is_writable else "ro"
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        with closing(
            sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_S)
        ) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("PRAGMA fullfsync = ON")
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                _check_ours(connection, path)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise


def put(connection: sqlite3.Connection, key: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))


def create_file(path: Path, terms: AccountTerms) -> None:
    """Make the complete file under another name, then rename it.

    An empty file of the final name is therefore a damaged one.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute("BEGIN IMMEDIATE")
            for statement in filter(str.strip, _SCHEMA.split(";\n")):
                connection.execute(statement)
            for key, value in asdict(terms).items():
                put(connection, key, value)
            connection.execute("COMMIT")
        try:
            os.link(temporary, path)
        except FileExistsError:  # another run has created it meanwhile
            return
    finally:
        temporary.unlink(missing_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_file(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise BudgetAccountError(f"{path} is not a regular file; nothing was spent", hint=_MOVE)
    if not found.st_size:
        raise BudgetAccountError(f"{path} is damaged: it is empty; nothing was spent", hint=_MOVE)


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    if mark != _APPLICATION_ID:
        raise BudgetAccountError(
            f"{path} is not the file of a budget account; nothing was written to it", hint=_MOVE
        )
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != FORMAT:
        raise BudgetAccountError(
            f"{path} was written by another release (format {version}; this one reads {FORMAT})",
            hint="use that release, or move the file away at the end of its period",
        )


_MOVE = (
    "restore it from a backup, or move it away: the account then begins with nothing spent,"
    " so first set budget.credits to what may still be spent in this period"
)


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Convert errors of the database and the file system to ``BudgetAccountError``."""
    try:
        yield
    except OSError as error:
        raise BudgetAccountError(
            f"the budget account's file {path} can't be used: {error.strerror}; nothing was spent",
            hint=(
                "set CRUCIBLE_BATCH_ACCOUNTS to a directory that all runs of the account can write"
            ),
        ) from error
    except (
        sqlite3.Error,
        ValueError,
        KeyError,
        ArithmeticError,
        TypeError,
        UnicodeDecodeError,
    ) as error:
        kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if kind in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise BudgetAccountError(
                f"{path} is locked by another process for {_BUSY_S:g} s; nothing was spent",
                hint="run the same command again",
            ) from error
        if kind in {
            sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_CANTOPEN,
        }:
            raise BudgetAccountError(
                f"{path} can't be used: {error}; nothing was spent",
                hint="check the disk and the permissions, and run the same command again",
            ) from error
        raise BudgetAccountError(
            f"{path} is damaged: {error}; nothing was changed", hint=_MOVE
        ) from error
