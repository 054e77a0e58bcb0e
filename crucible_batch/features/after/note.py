"""What a journal notes about ``after``: for which outputs it was run, and the newest run's counts.

A record belongs to bytes, as the gateway sent them: another output at the same index is a new one.
It does not depend on the program: a changed command is not run again for outputs that are done.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from crucible_batch.core.events import Saved
from crucible_batch.journal import Journal
from crucible_batch.report import AfterRow

_COUNTS = "after"
_PREFIX = "after "


@dataclass(frozen=True, slots=True)
class AfterRecord:
    """How the program has ended for an output. ``reason`` is why it failed."""

    is_done: bool
    reason: str = ""


_RECORD: TypeAdapter[AfterRecord] = TypeAdapter(AfterRecord)


def _name(saved: Saved) -> str:
    return f"{_PREFIX}{saved.index} {(saved.sent or saved).sha256}"


class NotedAfter:
    """The records of one journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._has_notes = False

    def of(self, identity: str, saved: Saved) -> AfterRecord | None:
        """Return the record of an output; None if the program has not ended for it."""
        self._has_notes = self._has_notes or self._journal.has_job_notes()
        if not self._has_notes:
            return None
        value = self._journal.job_notes(identity).get(_name(saved))
        try:
            return None if value is None else _RECORD.validate_json(value)
        except ValidationError:
            return None

    async def keep(self, identity: str, saved: Saved, record: AfterRecord) -> None:
        """Store a record, and return when it is durable. Raises ``JournalError``."""
        text = _RECORD.dump_json(record).decode()
        await self._journal.note_job(identity, _name(saved), text)


def note_counts(journal: Journal, counts: AfterRow | None) -> None:
    """Store the counts of the newest run; None if its manifest has no ``after``."""
    text = "" if counts is None else counts.model_dump_json()
    if (journal.noted(_COUNTS) or "") != text:
        journal.note(_COUNTS, text)


def noted_counts(journal: Journal) -> AfterRow | None:
    """Return the counts of the newest run; None if it had no ``after``."""
    try:
        return AfterRow.model_validate_json(journal.noted(_COUNTS) or "")
    except ValidationError:
        return None
