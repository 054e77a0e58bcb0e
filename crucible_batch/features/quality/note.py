"""What a journal notes about checks: the judgement of each output, and the newest run's totals.

A judgement belongs to bytes, as the gateway sent them: another output at the same index is judged
again.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from crucible_batch.core.events import Saved
from crucible_batch.features.quality.rule import Judgement, Totals
from crucible_batch.journal import Journal
from crucible_batch.report import ChecksRow

_TOTALS = "checks"
_WRITTEN = "checks written"
_PREFIX = "checks "
_JUDGEMENT: TypeAdapter[Judgement] = TypeAdapter(Judgement)


def sent_digest(saved: Saved) -> str:
    """Return the SHA-256 of an output as the gateway sent it."""
    return saved.sha256 if saved.sent is None else saved.sent.sha256


def _name(index: int, digest: str) -> str:
    return f"{_PREFIX}{index} {digest}"


class NotedJudgements:
    """The judgements of the outputs of one journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._has_notes = False

    def of_job(self, identity: str) -> Mapping[tuple[int, str], Judgement]:
        """Return those of a job by the output's index and digest.

        One that can't be read is left out, as if it had not been made.
        """
        self._has_notes = self._has_notes or self._journal.has_job_notes()
        if not self._has_notes:
            return {}
        found = {}
        for name, value in self._journal.job_notes(identity).items():
            if not name.startswith(_PREFIX):
                continue
            index, _, digest = name.removeprefix(_PREFIX).partition(" ")
            try:
                found[int(index), digest] = _JUDGEMENT.validate_json(value)
            except ValueError:  # ValidationError is one
                continue
        return found

    def of(self, identity: str, saved: Saved) -> Judgement:
        """Return that of an output; an empty one if it was not judged."""
        return self.of_job(identity).get((saved.index, sent_digest(saved)), Judgement())

    async def keep(self, identity: str, saved: Saved, judgement: Judgement) -> None:
        """Store a judgement, and return when it is durable. Raises ``JournalError``."""
        name = _name(saved.index, sent_digest(saved))
        await self._journal.note_job(identity, name, _JUDGEMENT.dump_json(judgement).decode())


def note_totals(journal: Journal, totals: Totals) -> None:
    """Store the totals of the newest run, whose manifest has checks."""
    row = ChecksRow.model_validate(totals)
    text = row.model_dump_json()
    if journal.noted(_TOTALS) != text:
        journal.note(_TOTALS, text)


def forget_totals(journal: Journal) -> None:
    """Remove the totals: the manifest has no checks, so no marks are shown."""
    for name in (_TOTALS, _WRITTEN):
        if journal.noted(name):
            journal.note(name, "")


def note_written(journal: Journal, count: int) -> None:
    """Store how many outputs the newest run has rejected: those that it wrote a line about."""
    text = str(count) if count else ""
    if (journal.noted(_WRITTEN) or "") != text:
        journal.note(_WRITTEN, text)


def noted_written(journal: Journal) -> int:
    """Return how many outputs the newest run has rejected."""
    text = journal.noted(_WRITTEN) or ""
    return int(text) if text.isdecimal() else 0


def noted_totals(journal: Journal) -> ChecksRow | None:
    """Return the totals of the newest run; None if it had no checks."""
    try:
        return ChecksRow.model_validate_json(journal.noted(_TOTALS) or "")
    except ValidationError:
        return None
