"""The notes about a report in the journal: digests of its content and its files, and the results of notifications.

The end time of the newest run and its notifications are not part of the content, so a run that has nothing to do leaves
the report unchanged.
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
from crucible_batch.journal import Journal, RunRecord
from crucible_batch.report import PAGE_FILE, REPORT_FILE, NotificationRow, ReportHead, RowFile
from crucible_batch.report.html import FOLDER

_NAME = "report"
_ABSENT = "absent"
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Reported:
    """The stored digests. ``last`` is the number of the journal's last event when the report was written."""

    last: int
    content: str
    files: str


_REPORTED: TypeAdapter[_Reported] = TypeAdapter(_Reported)


def report_stands(journal: Journal, directory: Path, head: ReportHead, rows: RowFile, *, html: bool) -> bool:
    """Whether the report and the page with this content are in their files, so that these can be left unchanged."""
    kept = _kept(journal)
    if kept is None or kept.last != journal.last_number() or kept.files != _files(directory):
        return False
    return kept.content == _content(directory, head, rows, html=html)


def note_report(journal: Journal, directory: Path, head: ReportHead, rows: RowFile, *, html: bool) -> None:
    """Store the digests of the report that was just written in the journal."""
    content = _content(directory, head, rows, html=html)
    kept = _Reported(journal.last_number(), content, _files(directory))
    journal.note(_NAME, _REPORTED.dump_json(kept).decode())


def forget_report(journal: Journal) -> None:
    """Store that the report is out of date, so that ``is_report_due`` until the next ``note_report``."""
    journal.note(_NAME, "")


def is_report_due(journal: Journal) -> bool:
    """Whether the report was not written since ``forget_report``."""
    return journal.noted(_NAME) == ""


def last_reported(journal: Journal) -> int | None:
    """Return the number of the journal's last event when the report was written; None if that is not known."""
    kept = _kept(journal)
    return None if kept is None else kept.last


def _kept(journal: Journal) -> _Reported | None:
    try:
        return _REPORTED.validate_json(journal.noted(_NAME) or "")
    except ValidationError:
        return None


def _content(directory: Path, head: ReportHead, rows: RowFile, *, html: bool) -> str:
    """Return the digest of the content of report and page: rows, head, and the directory in their commands."""
    text = head.model_dump_json(exclude={"finished_at", "notifications"})
    return hashlib.sha256(f"{__version__}\n{directory}\n{html}\n{text}\n{rows.digest}\n".encode()).hexdigest()


def _files(directory: Path) -> str:
    """Return the digest of the files: report and page by content; thumbnails, which may be many, by size and mtime."""
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


@dataclass(frozen=True, slots=True)
class _Notified:
    """The notifications of the run that began at ``started_at``."""

    started_at: float
    rows: list[NotificationRow]


_NOTIFIED: TypeAdapter[_Notified] = TypeAdapter(_Notified)
_NOTIFICATIONS = "notifications"


def note_notifications(journal: Journal, rows: list[NotificationRow]) -> None:
    """Store the results of the newest run's notifications in the journal, replacing those stored before."""
    kept = _Notified(journal.runs()[-1].started_at, rows)
    journal.note(_NOTIFICATIONS, _NOTIFIED.dump_json(kept).decode())


def notifications_of(journal: Journal, run: RunRecord) -> list[NotificationRow]:
    """Return the stored results of the notifications of a run; empty if the newest stored ones are of another run."""
    try:
        kept = _NOTIFIED.validate_json(journal.noted(_NOTIFICATIONS) or "")
    except ValidationError:
        return []
    return kept.rows if kept.started_at == run.started_at else []
