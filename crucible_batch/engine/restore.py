"""Going on where the journal is lost, or an old copy of it was put back, and the outputs are not: jobs' stories told
again from their receipts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Protocol

from crucible_batch.core.events import Event, Saved
from crucible_batch.core.job import Job
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.receipt import Receipt, newest_attempts, story
from crucible_batch.core.retry import RetryRule
from crucible_batch.results import OutputStore, Receipts, aside_path, output_path


class Forgetful(Protocol):
    """A journal that may know less than the receipts do."""

    def receipted(self) -> int:
        """How many receipts its events have led to."""
        ...

    def jobs(self, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]: ...

    def restore(self, stories: Iterable[tuple[str, Sequence[Event]]]) -> None:
        """Write all of it or nothing: half a restored journal would look like one that knows the rest."""
        ...


async def restore(journal: Forgetful, receipts: Receipts, store: OutputStore) -> int:
    """Write into the journal what it has forgotten of the plan's jobs; returns how many jobs that were.

    A job of which the journal knows an attempt is left as it is. Asks nothing of the gateway. Raises ``JournalError``.
    """
    if await asyncio.to_thread(receipts.count) <= journal.receipted():
        return 0
    known = newest_attempts(await asyncio.to_thread(lambda: list(receipts.read())))
    forgotten = [
        planned for planned, job in journal.jobs(RetryRule()) if planned.identity in known and not job.attempts
    ]
    stories: list[tuple[str, Sequence[Event]]] = []
    for planned in forgotten:
        of_job = known[planned.identity]
        true = {saved.index: saved async for saved in _true_outputs(planned, of_job, store)}
        stories.append((planned.identity, story(planned, of_job, true)))
    journal.restore(stories)
    return len(stories)


async def _true_outputs(planned: PlannedJob, receipts: Sequence[Receipt], store: OutputStore) -> AsyncIterator[Saved]:
    for receipt in receipts:
        saved = receipt.saved
        if saved is None or not 0 <= saved.index < (receipt.outputs or 0):
            continue
        home = output_path(planned.output, saved.index, PurePosixPath(saved.path).suffix).as_posix()
        # A receipt may have been edited: it can only name the file that the plan itself would write, there or aside.
        if saved.path in {home, aside_path(home, saved.sha256)} and await store.is_true(saved):
            yield saved
