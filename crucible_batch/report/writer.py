"""Writing of ``report.json``.

Its rows are collected in one pass over the jobs, then written completely or not at all.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from crucible_batch.atomic_files import TEMPORARY_PREFIX, replacing
from crucible_batch.core.outcome import Outcome
from crucible_batch.core.tally import Tally
from crucible_batch.report.models import CountsRow, JobRow, ReportHead

REPORT_FILE = "report.json"


class RowFile:
    """The rows of a report, in a nameless file of the run directory.

    The report's head is known only after them. They are made in one pass over the jobs, and read as
    often as needed. No job is kept in memory. An ``OSError`` while rows are added is raised when
    they are read: counting the jobs of a run must not fail on a full disk.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: IO[bytes] | None = None
        self._error: OSError | None = None
        self._tally = Tally()
        self._digest = hashlib.sha256()

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, row: JobRow) -> None:
        line = row.model_dump_json().encode() + b"\n"
        self._digest.update(line)
        is_reused = row.status == "succeeded" and row.attempts[-1].reused
        self._tally.add(Outcome(row.status), reused=is_reused)
        if self._error is None:
            try:
                self._opened().write(line)
            except OSError as error:
                self._error = error

    def lines(self) -> Iterator[bytes]:
        """Yield each row as JSON.

        Raises ``OSError``, also for what failed while rows were added.
        """
        if self._error is not None:
            raise self._error
        file = self._opened()
        file.seek(0)
        for line in file:
            yield line.rstrip(b"\n")

    def __iter__(self) -> Iterator[JobRow]:
        return map(JobRow.model_validate_json, self.lines())

    @property
    def counts(self) -> CountsRow:
        return CountsRow.of(self._tally)

    @property
    def digest(self) -> str:
        """The SHA-256 of all rows."""
        return self._digest.hexdigest()

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            self._file = tempfile.TemporaryFile(  # noqa: SIM115
                dir=self._directory, prefix=TEMPORARY_PREFIX
            )
        return self._file


def write_report(directory: Path, head: ReportHead, rows: Iterable[bytes]) -> Path:
    """Write a report into a run directory, replacing the one that is there. Raises ``OSError``.

    ``rows`` are JSON, one job each.
    """
    target = directory / REPORT_FILE
    with replacing(target) as file:
        file.write(head.model_dump_json(indent=2).removesuffix("\n}").encode())
        file.write(b',\n  "jobs": [')
        separator = b"\n    "
        for row in rows:
            file.write(separator)
            file.write(row)
            separator = b",\n    "
        file.write(b"\n  ]\n}\n")
    return target
