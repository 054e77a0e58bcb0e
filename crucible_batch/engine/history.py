"""The durable past that a run works on, as the engine sees it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from crucible_batch.core.asset import Asset
from crucible_batch.core.events import Event
from crucible_batch.core.job import Job
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.retry import RetryRule


class History(Protocol):
    """The durable past that a run works on."""

    async def append(self, subject: str, event: Event) -> None:
        """Return once the event is durable; raise ``JournalError`` where it isn't."""
        ...

    async def drain(self) -> None:
        """Return once all that was given to ``append`` is durable; raise ``JournalError`` where it isn't."""
        ...

    def events(self) -> Iterator[tuple[str, Event]]:
        """Every event with its subject, in the order in which they happened."""
        ...

    def jobs(self, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]:
        """The plan's jobs in manifest order, each as its events left it."""
        ...

    def retired(self) -> Iterator[tuple[PlannedJob, Job]]:
        """Jobs with a past that the plan no longer asks for, each with a rule that allows no other attempt."""
        ...

    def saved_at(self, path: str) -> list[str]:
        """The identities of the jobs an output of which was ever saved at this path, or moved to it."""
        ...

    def accepted_as(self, job_id: str) -> list[str]:
        """The identities of the jobs that were ever accepted as this gateway job; the id is in lower case."""
        ...

    def known(self, identity: str) -> tuple[PlannedJob, Job, bool] | None:
        """One job as its events left it, and whether it is retired. None where it was never planned."""
        ...

    def asset(self, sha256: str) -> Asset:
        """An asset as its events left it."""
        ...
