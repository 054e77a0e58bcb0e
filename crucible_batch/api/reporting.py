"""Whether the report that stands in a run directory is the one that would be written: then it is left as it is.

Noted of it in the journal is a digest of what it says and one of its files. When the newest run ended
is no part of it: a run that found nothing to do has told nothing new.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from pydantic import TypeAdapter, ValidationError

from crucible_batch import __version__
from crucible_batch.api.status import head_of, told_rows
from crucible_batch.journal import Journal
from crucible_batch.report import PAGE_FILE, REPORT_FILE, JobRow, ReportHead
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


def report_stands(journal: Journal, directory: Path, *, html: bool) -> ReportHead | None:
    """Return the report's head where its files are just what would be written; None where they are to be.

    Writes the sidecars that are missing where it returns a head.
    """
    try:
        kept = _REPORTED.validate_json(journal.noted(_NAME) or "")
    except ValidationError:
        return None
    if kept.last != journal.last_number() or kept.files != _files(directory):
        return None
    head = head_of(journal)
    rows = told_rows(journal, completing=directory)
    return head if kept.content == _content(directory, head, rows, html=html) else None


def note_report(journal: Journal, directory: Path, head: ReportHead, *, html: bool) -> None:
    """Note in the journal what was written just now."""
    content = _content(directory, head, told_rows(journal), html=html)
    kept = _Reported(journal.last_number(), content, _files(directory))
    journal.note(_NAME, _REPORTED.dump_json(kept).decode())


def _content(directory: Path, head: ReportHead, rows: Iterable[JobRow], *, html: bool) -> str:
    """Digest what the report says, and the page of it: rows, head, and where the commands that it names lead."""
    said = head.model_dump_json(exclude={"finished_at"})
    digest = hashlib.sha256(f"{__version__}\n{directory}\n{html}\n{said}\n".encode())
    for row in rows:
        digest.update(row.model_dump_json().encode() + b"\n")
    return digest.hexdigest()


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
