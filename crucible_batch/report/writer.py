"""``report.json`` to disk: streamed row by row, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from crucible_batch.report.models import JobRow, ReportHead

REPORT_FILE = "report.json"
TEMPORARY_REPORT = f".{REPORT_FILE}.part"


def write_report(directory: Path, head: ReportHead, rows: Iterable[JobRow]) -> Path:
    """Write a report into a run directory, replacing the one that is there. Raises ``OSError``."""
    target = directory / REPORT_FILE
    temporary = directory / TEMPORARY_REPORT
    try:
        temporary.unlink(missing_ok=True)  # a killed run's, or a link that somebody has put there
        with temporary.open("x", encoding="utf-8") as file:
            file.write(head.model_dump_json(indent=2).removesuffix("\n}"))
            file.write(',\n  "jobs": [')
            for number, row in enumerate(rows):
                file.write(",\n    " if number else "\n    ")
                file.write(row.model_dump_json())
            file.write("\n  ]\n}\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target
