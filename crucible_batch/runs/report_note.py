"""The note about a report in the journal: the digest of its content.

The end time of the newest run is not part of the content, so a run that has nothing to do leaves
the report unchanged.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from crucible_batch import __version__
from crucible_batch.journal import Journal
from crucible_batch.report import PAGE_FILE, REPORT_FILE, ReportHead, RowFile

_NAME = "report"


@dataclass(frozen=True, slots=True)
class _Reported:
    """The stored digest.

    ``last`` is the number of the journal's last event when the report was written.
    """

    last: int
    content: str


_REPORTED: TypeAdapter[_Reported] = TypeAdapter(_Reported)


def report_stands(
    journal: Journal, directory: Path, head: ReportHead, rows: RowFile, *, html: bool
) -> bool:
    """Whether the report and the page were written with this content, so that their files can be
    left unchanged."""
    kept = _kept(journal)
    if kept is None or kept.last != journal.last_number():
        return False
    if not (directory / REPORT_FILE).is_file() or (directory / PAGE_FILE).is_file() != html:
        return False
    return kept.content == _content(directory, head, rows, html=html)


def note_report(
    journal: Journal, directory: Path, head: ReportHead, rows: RowFile, *, html: bool
) -> None:
    """Store the digest of the report that was just written in the journal."""
    kept = _Reported(journal.last_number(), _content(directory, head, rows, html=html))
    journal.note(_NAME, _REPORTED.dump_json(kept).decode())


def forget_report(journal: Journal) -> None:
    """Store that the report is out of date, so that ``is_report_due`` until the next
    ``note_report``."""
    journal.note(_NAME, "")


def is_report_due(journal: Journal) -> bool:
    """Whether the report was not written since ``forget_report``."""
    return journal.noted(_NAME) == ""


def last_reported(journal: Journal) -> int | None:
    """Return the number of the journal's last event when the report was written; None if that is
    not known."""
    kept = _kept(journal)
    return None if kept is None else kept.last


def _kept(journal: Journal) -> _Reported | None:
    try:
        return _REPORTED.validate_json(journal.noted(_NAME) or "")
    except ValidationError:
        return None


def _content(directory: Path, head: ReportHead, rows: RowFile, *, html: bool) -> str:
    """Return the digest of the content of report and page: rows, head, and the directory in their
    commands.
    """
    text = head.model_dump_json(exclude={"finished_at"})
    return hashlib.sha256(
        f"{__version__}\n{directory}\n{html}\n{text}\n{rows.digest}\n".encode()
    ).hexdigest()
