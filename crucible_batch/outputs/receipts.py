"""The receipts of a run directory: one line of JSON each, appended as jobs are accepted and outputs saved.

No line is synced: a receipt serves where the journal is gone, and what a power cut takes from it costs a request.
Whoever reads them trusts nothing: a line that can't be read is passed over.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from crucible_batch.domain.receipts import Receipt
from crucible_batch.errors import UserError

RECEIPTS_FILE = "receipts.jsonl"
_LONGEST_LINE = 16 * 1024
_TRUSTED_S = 0.25
"""Asking whether the file has a name takes as long as writing a line to it."""
_RECEIPT: TypeAdapter[Receipt] = TypeAdapter(Receipt)


class Receipts:
    """The receipts of one run directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / RECEIPTS_FILE
        self._file: FileIO | None = None
        self._is_cut = False
        self._named_until = 0.0

    def add(self, receipt: Receipt) -> None:
        """Append one. A disk that doesn't take it is no reason to stop: the journal has what counts."""
        line = _RECEIPT.dump_json(receipt, exclude_none=True) + b"\n"
        with contextlib.suppress(OSError):
            file = self._opened()
            if self._is_cut:
                line = b"\n" + line
            self._is_cut = True
            self._is_cut = file.write(line) != len(line)  # one write, so that a kill leaves a line whole or out

    def _opened(self) -> FileIO:
        """Have the file open for appending: the one that was, as long as it has a name. That is asked now and then."""
        if self._file is not None and time.monotonic() < self._named_until:
            return self._file
        self._named_until = time.monotonic() + _TRUSTED_S
        if self._file is not None and os.fstat(self._file.fileno()).st_nlink:
            return self._file
        self.close()
        self._file = FileIO(str(self._path), "a+", opener=_appending)
        end = self._file.seek(0, os.SEEK_END)
        # A disk that was full, or a kill, has cut the last one.
        self._is_cut = bool(end) and os.pread(self._file.fileno(), 1, end - 1) != b"\n"
        return self._file

    def close(self) -> None:
        """Close the file, which the next receipt would open again. May be called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def count(self) -> int:
        """Count the lines, readable or not; 0 where there is no such file."""
        with contextlib.suppress(OSError), open(self._path, "rb", opener=_open) as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
        return 0

    def read(self) -> Iterator[Receipt]:
        """Yield those that can be read, oldest first; none where there is no such file."""
        with contextlib.suppress(OSError), open(self._path, "rb", opener=_open) as file:
            while line := file.readline(_LONGEST_LINE):
                with contextlib.suppress(ValidationError):
                    yield _RECEIPT.validate_json(line)


def _appending(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:  # by a hard link it is another file as well
        os.close(descriptor)
        raise OSError(errno.EMLINK, os.strerror(errno.EMLINK), path)
    return descriptor


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


_MOST = 10_000


class ReceiptsByJob:
    """Takes receipts in any order, and gives back those of one job in that order."""

    def __init__(self, receipts: Iterable[Receipt]) -> None:
        """Raise ``UserError`` where the temporary directory has no room for them. Blocking; any thread may use it."""
        # SQLite opens a file in the temporary directory and takes its name away at once: no kill leaves it behind.
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for setting in ("temp_store = FILE", "synchronous = OFF", "journal_mode = OFF"):
            self._connection.execute(f"PRAGMA {setting}")
        try:
            self._connection.execute(
                "CREATE TABLE receipts (identity TEXT NOT NULL, job_id TEXT NOT NULL, body BLOB NOT NULL)"
            )
            self._connection.execute("BEGIN")
            rows = ((each.identity, each.job_id.lower(), pickle.dumps(each)) for each in receipts)
            self._connection.executemany("INSERT INTO receipts VALUES (?, ?, ?)", rows)
            self._connection.execute("CREATE INDEX receipts_by_identity ON receipts (identity)")
            self._connection.execute("CREATE INDEX receipts_by_job_id ON receipts (job_id)")
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self.close()
            raise UserError(
                f"the receipts can't be sorted in the temporary directory: {error}",
                hint="make room there, or name another directory in TMPDIR; nothing was spent",
            ) from error

    def of(self, identity: str) -> list[Receipt]:
        """Return a job's receipts; none where it has none. Not all of them where somebody has added any number."""
        query = "SELECT body FROM receipts WHERE identity = ? ORDER BY rowid LIMIT ?"
        found = self._connection.execute(query, (identity, _MOST))
        return [pickle.loads(body) for (body,) in found]  # noqa: S301 - from a file that nobody else can open

    def owner(self, job_id: str) -> str | None:
        """Return the identity of the job that named this gateway job first: no two can have the same."""
        query = "SELECT identity FROM receipts WHERE job_id = ? ORDER BY rowid LIMIT 1"
        row = self._connection.execute(query, (job_id.lower(),)).fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        self._connection.close()
