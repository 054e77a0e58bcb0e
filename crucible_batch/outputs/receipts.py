"""The receipts of a run directory.

Each is a line of JSON, appended when a job is accepted or an output is saved. Lines are not synced:
receipts are needed only if the journal is lost, and a receipt lost in a power cut costs one
request. The content is not trusted: lines that can't be parsed are skipped.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from io import FileIO
from pathlib import Path

from crucible_batch.core.receipts import Receipt
from crucible_batch.core.struct_json import StructReader, to_json
from crucible_batch.temporary_database import room_for, temporary_database

RECEIPTS_FILE = "receipts.jsonl"
_LONGEST_LINE = 16 * 1024
_READER = StructReader(Receipt)


class Receipts:
    def __init__(self, directory: Path) -> None:
        self._path = directory / RECEIPTS_FILE
        self._file: FileIO | None = None
        self._is_cut = False

    def add(self, receipt: Receipt) -> None:
        """Append a receipt. Errors of the disk are ignored, since the journal is what counts."""
        line = to_json(receipt) + b"\n"
        with contextlib.suppress(OSError):
            self._write(line)

    def add_missing(self, content: bytes) -> None:
        """Append the lines of another file of receipts that this one doesn't have.

        Raises ``OSError``.
        """
        known: set[bytes] = set()
        with contextlib.suppress(FileNotFoundError), open(self._path, "rb", opener=_open) as file:
            known.update(file.read().splitlines())
        missing = [line for line in content.splitlines() if line and line not in known]
        if missing:
            self._write(b"".join(line + b"\n" for line in missing))
            self.close()

    def _write(self, lines: bytes) -> None:
        file = self._opened()
        if self._is_cut:
            lines = b"\n" + lines
        self._is_cut = True
        # One write, so that a kill leaves complete lines or none.
        self._is_cut = file.write(lines) != len(lines)

    def _opened(self) -> FileIO:
        """Return the file open for appending. It is opened again if it was deleted."""
        if self._file is not None and os.fstat(self._file.fileno()).st_nlink:
            return self._file
        self.close()
        self._file = FileIO(str(self._path), "a+", opener=_appending)
        end = self._file.seek(0, os.SEEK_END)
        # The last line may be cut, by a full disk or a kill.
        self._is_cut = bool(end) and os.pread(self._file.fileno(), 1, end - 1) != b"\n"
        return self._file

    def close(self) -> None:
        """Close the file; the next receipt opens it again. May be called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def count(self) -> int:
        """Return the number of lines, valid or not; 0 if there is no file."""
        with contextlib.suppress(OSError), open(self._path, "rb", opener=_open) as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
        return 0

    def read(self) -> Iterator[Receipt]:
        """Yield the valid receipts, oldest first; nothing if there is no file."""
        with contextlib.suppress(OSError), open(self._path, "rb", opener=_open) as file:
            for line in iter(lambda: file.readline(_LONGEST_LINE), b""):
                with contextlib.suppress(ValueError):
                    yield _READER.read(line)


def _appending(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    status = os.fstat(descriptor)
    # A hard link may be a file outside the run directory
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise OSError(errno.EMLINK, os.strerror(errno.EMLINK), path)
    return descriptor


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


_MOST = 10_000


class ReceiptsByJob:
    """An index of receipts, which returns those of one job in the order in which they came."""

    def __init__(self, receipts: Iterable[Receipt]) -> None:
        """Index ``receipts``.

        Raises ``UserError`` if the temporary directory has no room for them. Blocking. The index
        may be used from any thread.
        """
        self._connection = temporary_database(
            "CREATE TABLE receipts "
            "(identity TEXT NOT NULL, job_id TEXT NOT NULL, body BLOB NOT NULL)",
            "BEGIN",
        )
        with ExitStack() as stack, room_for("the receipts"):
            stack.callback(self.close)
            rows = ((each.identity, each.job_id.lower(), pickle.dumps(each)) for each in receipts)
            self._connection.executemany("INSERT INTO receipts VALUES (?, ?, ?)", rows)
            self._connection.execute("CREATE INDEX receipts_by_identity ON receipts (identity)")
            self._connection.execute("CREATE INDEX receipts_by_job_id ON receipts (job_id)")
            self._connection.execute("COMMIT")
            stack.pop_all()

    def of(self, identity: str) -> list[Receipt]:
        """Return a job's receipts, at most 10,000 in case the file was tampered with."""
        query = "SELECT body FROM receipts WHERE identity = ? ORDER BY rowid LIMIT ?"
        found = self._connection.execute(query, (identity, _MOST))
        # No other process can open the file that they come from.
        return [pickle.loads(body) for (body,) in found]  # noqa: S301

    def owner(self, job_id: str) -> str | None:
        """Return the identity of the first job that names this gateway job, or None.

        Two jobs can't share one.
        """
        query = "SELECT identity FROM receipts WHERE job_id = ? ORDER BY rowid LIMIT 1"
        row = self._connection.execute(query, (job_id.lower(),)).fetchone()
        if row is None:
            return None
        return str(row[0])

    def close(self) -> None:
        self._connection.close()
