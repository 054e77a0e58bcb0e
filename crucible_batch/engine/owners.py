"""Whose a gateway job is: an id that was answered for one idempotency key is no other's, in this run or a later one."""

from __future__ import annotations

from crucible_batch.core.events import Accepted, Event
from crucible_batch.core.job import Job
from crucible_batch.engine.books import Books
from crucible_batch.engine.history import History


class Owners:
    """Knows the owners from the journal; in memory only are those whose acceptance is not durable yet."""

    def __init__(self, history: History, books: Books) -> None:
        self._history = history
        self._fresh: dict[str, str] = {}
        books.on_entry(self._entered)

    def claim(self, job: Job, job_id: str) -> bool:
        """Note a gateway job as that of the job's newest attempt; False where it is another attempt's, or job's."""
        known = job_id.lower()
        earlier = (attempt.job_id for attempt in job.attempts if attempt.key != job.current.key)
        owners = {*self._history.accepted_as(known), self._fresh.get(known, job.identity)}
        if owners != {job.identity} or any(each is not None and each.lower() == known for each in earlier):
            return False
        self._fresh[known] = job.identity
        return True

    def _entered(self, _subject: str, event: Event) -> None:
        if isinstance(event, Accepted):
            self._fresh.pop(event.job_id.lower(), None)
