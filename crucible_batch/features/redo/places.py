"""Gives each output that counts its planned path, and moves other takes of it aside.

A run saves an output at its planned path, or beside the one that counts. When a rejection is taken
back, an earlier take counts again, and the later one is at the path. A file is first linked under
its new name, then journalled there, and then loses the old name: after a kill in between, the next
run finishes it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePosixPath

from msgspec.structs import replace

from crucible_batch.core.events import Relocated, Saved
from crucible_batch.core.job import ALLOWED_PHASES, Job, evolve
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.receipts import receipt_for
from crucible_batch.engine import Clock
from crucible_batch.journal import Journal
from crucible_batch.outputs import (
    ObjectStoreError,
    OutputError,
    OutputStore,
    Receipts,
    output_path,
    relocated_path,
)
from crucible_batch.runs.generations import generations_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Take:
    """An output of a generation of a job, and whether it is the one that counts."""

    job: Job
    saved: Saved
    counts: bool


class Places:
    """The outputs of one run directory, whose lock is held."""

    def __init__(self, journal: Journal, store: OutputStore, clock: Clock) -> None:
        self._journal = journal
        self._store = store
        self._sidecars = store.sidecars()
        self._clock = clock
        self._receipts = Receipts(store.directory)

    async def settle(self) -> None:
        """Give the outputs that count their paths, of all jobs that have several generations.

        One that can't be moved stays, which is logged: its report has its path. It keeps its former
        path until ``tidy``: a later stage may have been planned by it.
        """
        await self._each(is_end=False)

    async def tidy(self) -> None:
        """Remove the former paths, after the run."""
        await self._each(is_end=True)

    async def _each(self, *, is_end: bool) -> None:
        if not self._journal.has_generations():
            return
        with closing(self._receipts):
            for planned in list(self._with_generations()):
                try:
                    await self._settle(planned, is_end=is_end)
                except (OutputError, ObjectStoreError) as error:
                    logger.warning("%s: its outputs were not moved: %s", planned.name, error)

    def _with_generations(self) -> Iterator[PlannedJob]:
        return (
            planned
            for planned in self._journal.plan()
            if self._journal.other_generations(planned.identity)
        )

    async def _settle(self, planned: PlannedJob, *, is_end: bool) -> None:
        generations = generations_of(self._journal)(planned)
        known = self._journal.known(planned.identity)
        assert known is not None  # it is in the plan
        found: dict[int, list[_Take]] = {}
        for one, job in [*generations.others, (planned, known[1])]:
            for index, saved in job.outputs.items():
                number = generations.current.get(index, planned.generation)
                found.setdefault(index, []).append(_Take(job, saved, one.generation == number))
        for takes in found.values():
            current = next((take for take in takes if take.counts), None)
            if current is not None:
                await self._place(planned, current, takes, is_end=is_end)

    async def _place(
        self, planned: PlannedJob, current: _Take, takes: Sequence[_Take], *, is_end: bool
    ) -> None:
        """Give the output that counts its planned path. ``takes`` are all of its index."""
        saved = current.saved
        home = output_path(planned.output, saved.index, PurePosixPath(saved.path).suffix).as_posix()
        aside = relocated_path(home, saved.sha256)
        if [take for take in takes if take.saved.path == home] != [current]:
            takes = [await self._found(take, home) for take in takes]
            saved = next(take for take in takes if take.counts).saved
        if saved.path == home:
            if await self._store.is_true(replace(saved, path=aside)):
                await self._store.remove_name(aside, home, saved.sha256)
            return
        if is_end or saved.path != aside or not await self._store.is_true(saved):
            return
        for take in takes:
            other = replace(take.saved, path=home)
            if other.sha256 == saved.sha256 or not await self._store.is_true(other):
                continue
            beside = relocated_path(home, other.sha256)
            if take.saved.path == home:
                await self._move(home, beside, takes, other.sha256)
            elif take.saved.path == beside:
                await self._store.free_name(home, beside, other.sha256)
        await self._move(aside, home, takes, saved.sha256, keep=True)

    async def _found(self, take: _Take, home: str) -> _Take:
        """Return a take with the path that it has.

        The journal of a machine that continues the run of a killed one may lack a move.
        """
        beside = replace(take.saved, path=relocated_path(home, take.saved.sha256))
        if take.saved.path != home or take.job.phase not in ALLOWED_PHASES[Relocated]:
            return take
        if await self._store.is_true(take.saved) or not await self._store.is_true(beside):
            return take
        await self._record(take, beside.path)
        return _Take(take.job, beside, take.counts)

    async def _record(self, take: _Take, path: str) -> None:
        event = Relocated(at=self._clock.now(), index=take.saved.index, path=path)
        await self._journal.append(take.job.identity, event)
        receipt = receipt_for(evolve(take.job, event), event)
        if receipt is not None:
            self._receipts.add(receipt)

    async def _move(
        self, path: str, to: str, takes: Sequence[_Take], sha256: str, *, keep: bool = False
    ) -> None:
        moved = [take for take in takes if (take.saved.path, take.saved.sha256) == (path, sha256)]
        if any(take.job.phase not in ALLOWED_PHASES[Relocated] for take in moved):
            return
        await self._store.add_name(path, to, sha256)
        for take in moved:
            await self._record(take, to)
        await asyncio.to_thread(self._sidecars.move, path, to)
        if not keep:
            await self._store.free_name(path, to, sha256)
