"""Whether the report in a run directory is already the one that would be written: then its files are left unchanged.

The journal has a note of it: a digest of its content and one of its files. The time at which the newest run ended is
not part of the content, so a run that found nothing to do leaves the report as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from pydantic import TypeAdapter, ValidationError

from crucible_batch import __version__
from crucible_batch.api.status import head_of
from crucible_batch.journal import Journal
from crucible_batch.report import PAGE_FILE, REPORT_FILE, ReportHead, RowFile
from crucible_batch.report.html import FOLDER

_NAME = "report"
_ABSENT = "absent"
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Reported:
    """What was written. ``last`` is the number of the journal's last event then."""

    last: int
    content: str
    files: str


_REPORTED: TypeAdapter[_Reported] = TypeAdapter(_Reported)


def report_stands(journal: Journal, directory: Path, rows: RowFile, *, html: bool) -> ReportHead | None:
    """Return the report's head if its files are already what would be written; None if they have to be written."""
    try:
        kept = _REPORTED.validate_json(journal.noted(_NAME) or "")
    except ValidationError:
        return None
    if kept.last != journal.last_number() or kept.files != _files(directory):
        return None
    head = head_of(journal, rows.counts)
    return head if kept.content == _content(directory, head, rows, html=html) else None


def note_report(journal: Journal, directory: Path, head: ReportHead, rows: RowFile, *, html: bool) -> None:
    """Note in the journal what was written just now."""
    content = _content(directory, head, rows, html=html)
    kept = _Reported(journal.last_number(), content, _files(directory))
    journal.note(_NAME, _REPORTED.dump_json(kept).decode())


def _content(directory: Path, head: ReportHead, rows: RowFile, *, html: bool) -> str:
    """Digest what report and page contain: rows, head, and the directory that their commands name."""
    text = head.model_dump_json(exclude={"finished_at"})
    return hashlib.sha256(f"{__version__}\n{directory}\n{html}\n{text}\n{rows.digest}\n".encode()).hexdigest()


def _files(directory: Path) -> str:
    """Digest the files: report and page by their bytes; the thumbnails, which may be many, by size and time."""
    digest = hashlib.sha256()
    for name in (REPORT_FILE, PAGE_FILE):
        digest.update(_digest_of(directory / name).encode() + b"\n")
    for line in sorted(_listed(directory / FOLDER)):
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def _digest_of(path: Path) -> str:
    with contextlib.suppress(OSError), os.fdopen(os.open(path, _FLAGS), "rb") as file:
        if S_ISREG(os.fstat(file.fileno()).st_mode):
            return hashlib.file_digest(file, "sha256").hexdigest()
    return _ABSENT


def _listed(folder: Path) -> Iterator[str]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = entry.stat(follow_symlinks=False)
            yield f"{entry.name} {found.st_mode} {found.st_size} {found.st_mtime_ns}"
