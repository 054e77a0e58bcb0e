"""Making way: where an output goes, an older picture of ours may stand, whose job has no claim to the place any more.

    what stands there                                        what becomes of it
    a file that no journal names there, or with other bytes  it stays
    an output of a job of the plan, in that job's own place  it stays
    an output of any other job (retired, or renamed since)   it moves aside

What moves is linked under its other name, then journalled there, and only then loses the name that is wanted. Killed
between any two of these, it is found by either name, and the rest is done when the place is asked for again.

A retired job makes nobody move: what it still had in flight goes aside itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from crucible_batch.domain.events import Relocated, Saved
from crucible_batch.domain.job import Job, Phase
from crucible_batch.domain.plan import PlannedJob
from crucible_batch.engine.clock import Clock
from crucible_batch.engine.history import History
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.outputs import OutputStore, Sidecars, aside_path, give_up, keep_as, output_path


@dataclass(frozen=True, slots=True)
class Owner:
    """A job that saved an output at the place that is wanted now. ``saved`` is how the journal has it today."""

    planned: PlannedJob
    job: Job
    retired: bool
    saved: Saved

    def may_stay(self, path: str) -> bool:
        """Whether the place is the job's own by today's plan, or the job can't be told that its output has moved."""
        if self.job.phase is Phase.UNREADABLE:
            return True
        home = output_path(self.planned.output, self.saved.index, PurePosixPath(path).suffix)
        return not self.retired and home.as_posix() == path


class OutputRelocator:
    """Moves pictures aside, one at a time. ``told`` is called with each job whose output has moved."""

    def __init__(
        self,
        past: History,
        books: JournaledLedger,
        store: OutputStore,
        clock: Clock,
        told: Callable[[PlannedJob, Job, Relocated], None],
    ) -> None:
        self._past = past
        self._books = books
        self._store = store
        self._sidecars = Sidecars(store.directory)
        self._clock = clock
        self._told = told
        self._turn = asyncio.Lock()

    async def way(self, asker: PlannedJob, path: str, sha256: str) -> str | None:
        """Say where an output goes whose place is taken: to the same one, which is free now, or aside; None: nowhere.

        ``sha256`` is that of the output. Raises ``OutputError`` where what stands there can't move, ``JournalError``.
        """
        known = self._past.known(asker.identity)
        if known is not None and known[2]:
            return aside_path(path, sha256)
        async with self._turn:
            owners = [owner async for owner in self._owners(path)]
            if not owners or any(owner.may_stay(path) for owner in owners):
                return None
            await self._move(path, owners)
            return path

    async def _move(self, path: str, owners: Sequence[Owner]) -> None:
        sha256 = owners[0].saved.sha256  # one file, so the same for all
        aside = aside_path(path, sha256)
        await asyncio.to_thread(keep_as, self._store.directory, path, aside, sha256)
        for owner in owners:
            if owner.saved.path == path:
                event = Relocated(at=self._clock.now(), index=owner.saved.index, path=aside)
                await self._books.record(owner.planned.identity, event)
                self._told(owner.planned, owner.job, event)
        await asyncio.to_thread(self._sidecars.move, path, aside)
        await asyncio.to_thread(give_up, self._store.directory, path, aside, sha256)

    async def _owners(self, path: str) -> AsyncIterator[Owner]:
        """Yield the jobs whose very bytes stand at ``path``, and are journalled there or, a move begun, aside."""
        for identity in self._past.saved_at(path):
            known = self._past.known(identity)
            for saved in known[1].outputs.values() if known is not None else ():
                is_named = saved.path in {path, aside_path(path, saved.sha256)}
                if known is not None and is_named and await self._store.is_true(replace(saved, path=path)):
                    yield Owner(*known, saved)
