"""The results of a run's notifications, as stored in the journal."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from crucible_batch.journal import Journal, RunRecord
from crucible_batch.report import NotificationRow


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
