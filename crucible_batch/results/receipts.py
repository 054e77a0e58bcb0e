"""The receipts of a run directory: one line of JSON each, appended as jobs are accepted and outputs saved.

No line is synced: a receipt serves where the journal is gone, and what a power cut takes from it costs a request.
Whoever reads them trusts nothing: a line that can't be read is passed over.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from crucible_batch.core.receipt import Receipt

RECEIPTS_FILE = "receipts.jsonl"
_LONGEST_LINE = 16 * 1024
_RECEIPT: TypeAdapter[Receipt] = TypeAdapter(Receipt)


class Receipts:
    """The receipts of one run directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / RECEIPTS_FILE

    def add(self, receipt: Receipt) -> None:
        """Append one. A disk that doesn't take it is no reason to stop: the journal has what counts."""
        line = _RECEIPT.dump_json(receipt, exclude_none=True) + b"\n"
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, flags, 0o644)
            try:
                size = os.lseek(descriptor, 0, os.SEEK_END)
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    line = b"\n" + line  # a disk that was full has cut the last one
                os.write(descriptor, line)  # one write, so that a kill leaves a line whole or out
            finally:
                os.close(descriptor)

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


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
