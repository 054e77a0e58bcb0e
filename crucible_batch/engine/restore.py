"""Going on where the journal is lost but the outputs are not: jobs' stories told again from their receipts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Protocol

from crucible_batch.core.events import Event, Saved
from crucible_batch.core.job import Job
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.receipt import Receipt, newest_attempts, story
from crucible_batch.core.retry import RetryRule
from crucible_batch.results import OutputStore, Receipts, aside_path, output_path


class EmptyHistory(Protocol):
    """A journal in which nothing has happened yet."""

    async def append(self, subject: str, event: Event) -> None: ...

    def jobs(self, rule: RetryRule) -> Iterator[tuple[PlannedJob, Job]]: ...


async def restore(history: EmptyHistory, receipts: Receipts, store: OutputStore) -> int:
    """Write into an empty journal what the receipts tell of the plan's jobs; returns how many jobs that were.

    Asks nothing of the gateway. Raises ``JournalError``.
    """
    known = newest_attempts(await asyncio.to_thread(lambda: list(receipts.read())))
    found = 0
    if not known:
        return found
    # Read to the end before the first write: an open read would see the journal grow.
    planned_jobs = [planned for planned, _ in history.jobs(RetryRule()) if planned.identity in known]
    for planned in planned_jobs:
        of_job = known[planned.identity]
        true = {saved.index: saved async for saved in _true_outputs(planned, of_job, store)}
        for event in story(planned, of_job, true):
            await history.append(planned.identity, event)
        found += 1
    return found


async def _true_outputs(planned: PlannedJob, receipts: Sequence[Receipt], store: OutputStore) -> AsyncIterator[Saved]:
    for receipt in receipts:
        saved = receipt.saved
        if saved is None or not 0 <= saved.index < (receipt.outputs or 0):
            continue
        home = output_path(planned.output, saved.index, PurePosixPath(saved.path).suffix).as_posix()
        # A receipt may have been edited: it can only name the file that the plan itself would write, there or aside.
        if saved.path in {home, aside_path(home, saved.sha256)} and await store.is_true(saved):
            yield saved
