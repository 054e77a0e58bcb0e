"""Moves an older output of ours aside when a new output needs its path.

    the file at the path                                     what happens to it
    not in the journal at that path, or with other bytes     stays
    an output of a planned job, at that job's own path       stays
    an output of any other job (retired, or renamed since)   is moved aside
    what a feature has made from an output                   is removed: it can be made again

A moved file is first linked under its other name, then journalled there, and then loses the old
name. (In an object store it is copied, and the new output replaces it.) After a kill between two of
these steps it is found by either name, and the next request for the path finishes moving it.

An output of a retired job never displaces another: it is saved aside itself. So is one whose path
has an output that counts, although its job is retired (``Derivation.counts``), one that another is
wanted in place of (``Derivation.gives_way``): after the loss of a journal, a file that is not known
may be that other one; and one whose path belonged to a retired job that has not ended: the file may
be that job's, saved right before a kill.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from msgspec.structs import replace

from crucible_batch.core.events import Relocated, Saved
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.plan import PlannedJob
from crucible_batch.engine.clock import Clock
from crucible_batch.engine.history import History
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.outputs import OutputStore, output_path, relocated_path

_NOT_ENDED = frozenset({Phase.SUBMITTING, Phase.UNKNOWN, Phase.IN_FLIGHT, Phase.FETCHING})


@dataclass(frozen=True, slots=True)
class Owner:
    """A job that saved an output at the requested path, and what the journal has of it now."""

    planned: PlannedJob
    job: Job
    retired: bool
    saved: Saved

    def may_stay(self, path: str) -> bool:
        """Whether the path is the job's own in the current plan, or the job is unreadable and can't
        take the event."""
        if self.job.phase is Phase.UNREADABLE:
            return True
        home = output_path(self.planned.output, self.saved.index, PurePosixPath(path).suffix)
        return not self.retired and home.as_posix() == path


def _never(*_of: object) -> bool:
    return False


async def none_freed(_path: str) -> bool:
    """Remove nothing."""
    return False


class OutputRelocator:
    """Moves outputs aside, one at a time, and reports each job whose output was moved."""

    def __init__(
        self,
        past: History,
        accounting: JournaledLedger,
        store: OutputStore,
        clock: Clock,
        told: Callable[[PlannedJob, Job, Relocated], object],
        *,
        counts: Callable[[PlannedJob, Saved], bool] = _never,
        gives_way: Callable[[PlannedJob], bool] = _never,
        freed: Callable[[str], Awaitable[bool]] = none_freed,
    ) -> None:
        """``freed`` removes a file at a path if it can be made again; it returns whether it did."""
        self._past = past
        self._accounting = accounting
        self._store = store
        self._sidecars = store.sidecars()
        self._clock = clock
        self._told = told
        self._counts = counts
        self._gives_way = gives_way
        self._freed = freed
        self._turn = asyncio.Lock()

    async def find_path(self, asker: PlannedJob, path: str, sha256: str) -> str | None:
        """Return where to save an output whose path is taken: the same path, freed now, or one
        aside; None if neither.

        ``sha256`` is the digest of the new output. Raises ``OutputError`` if the file there can't
        be moved, ``ObjectStoreError`` and ``JournalError``.
        """
        known = self._past.known(asker.identity)
        if known is not None and known[2]:
            return relocated_path(path, sha256)
        async with self._turn:
            owners = [owner async for owner in self._owners(path)]
            if not owners and await self._freed(path):
                return path
            if not owners and (self._gives_way(asker) or self._may_be_of_retired(asker)):
                return relocated_path(path, sha256)
            if not owners or any(owner.may_stay(path) for owner in owners):
                return None
            if any(self._counts(owner.planned, owner.saved) for owner in owners):
                return relocated_path(path, sha256)
            await self._move(path, owners)
            return path

    def _may_be_of_retired(self, asker: PlannedJob) -> bool:
        """Whether a file that isn't known may be an output of a retired job, of whose end the
        journal has nothing: in an object store, an output may be there before the log has the last
        events of its job.
        """
        return any(
            planned.output == asker.output and job.phase in _NOT_ENDED
            for planned, job in self._past.retired()
        )

    async def _move(self, path: str, owners: Sequence[Owner]) -> None:
        sha256 = owners[0].saved.sha256  # one file, so the same for all
        aside = relocated_path(path, sha256)
        await self._store.add_name(path, aside, sha256)
        for owner in owners:
            if owner.saved.path == path:
                event = Relocated(at=self._clock.now(), index=owner.saved.index, path=aside)
                await self._accounting.record(owner.planned.identity, event)
                self._told(owner.planned, owner.job, event)
        await asyncio.to_thread(self._sidecars.move, path, aside)
        await self._store.free_name(path, aside, sha256)

    async def _owners(self, path: str) -> AsyncIterator[Owner]:
        """Yield the jobs whose journalled bytes are at ``path``, including those whose move aside
        was interrupted."""
        for identity in self._past.saved_at(path):
            known = self._past.known(identity)
            if known is None:
                continue
            for saved in known[1].outputs.values():
                is_named = saved.path in {path, relocated_path(path, saved.sha256)}
                if is_named and await self._store.is_true(replace(saved, path=path)):
                    yield Owner(*known, saved)
