"""The receipts of a run directory: one line of JSON each, appended as jobs are accepted and outputs saved.

No line is synced: a receipt serves where the journal is gone, and what a power cut takes from it costs a request.
Whoever reads them trusts nothing: a line that can't be read is passed over.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from crucible_batch.core.receipt import Receipt

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
    return os.open(path, flags | os.O_NOFOLLOW, 0o644)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
