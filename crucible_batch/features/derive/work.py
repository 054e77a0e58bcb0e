"""The work of a run on its derived files: a queue, and the threads that take a processor."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

from crucible_batch.core.events import Saved
from crucible_batch.core.plan import PlannedJob, RunTerms
from crucible_batch.core.redaction import clean
from crucible_batch.features.derive.encoder import Encoded
from crucible_batch.features.derive.maker import FileMaker
from crucible_batch.features.derive.manifest_keys import Derive
from crucible_batch.features.derive.note import NotedFiles
from crucible_batch.features.derive.rule import DerivedFile, DerivedForm, path_of
from crucible_batch.journal import Journal
from crucible_batch.outputs import OutputStore
from crucible_batch.outputs.output_properties import properties_of
from crucible_batch.runs.current_outputs import CurrentOutputs
from crucible_batch.runs.output_queue import OutputQueue

logger = logging.getLogger(__name__)

_THREADS = 2
"""Pictures that are decoded at the same time: each needs 400 MB at most, and a processor."""
_MOST_SHOWN = 10
"""Warnings about files that could not be made. The report has all of them."""


class DerivingWork:
    """The derived files of one run. To be used from its event loop."""

    def __init__(
        self,
        journal: Journal,
        noted: NotedFiles,
        store: OutputStore,
        terms: RunTerms,
        forms: Sequence[Derive],
    ) -> None:
        self._journal = journal
        self._noted = noted
        self._terms = terms
        self._forms = forms
        self._maker = FileMaker(noted, store, self._in_thread, self._wants)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="derive")
        self._queue = OutputQueue(
            self._derive, workers=_THREADS, subject="a derived file", again=True
        )
        self._counting: set[tuple[str, int]] = set()
        """Outputs that are known to count, also if another generation of their job is planned."""
        self._shown = 0

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Derive files during the block. What is not made by its end is made by the next run."""
        await self._remove_stale()
        try:
            async with self._queue.working():
                yield
        finally:
            await asyncio.to_thread(partial(self._pool.shutdown, cancel_futures=True))

    def offer(self, identity: str, index: int) -> None:
        """Derive from an output as soon as a worker is free."""
        if self._forms:
            self._queue.offer(identity, index)

    async def conclude(self, leaving: asyncio.Event) -> None:
        """Remove what is stale, and make what is missing unless the run has to end.

        Raises ``JournalError``.
        """
        await self._queue.until_idle(leaving)
        await self._remove_stale()
        for planned, saved in CurrentOutputs(self._journal).all(self._terms.rule):
            await asyncio.sleep(0)  # a signal is handled between two of many outputs
            if leaving.is_set():
                break
            if any(True for _ in self._missing(planned, saved)):
                self._counting.add((planned.identity, saved.index))
                self.offer(planned.identity, saved.index)
        await self._queue.until_idle(leaving)
        if leaving.is_set():
            await self._queue.stop()
        await self._journal.drain()

    async def freed(self, path: str) -> bool:
        """Remove the derived files at a path, and return whether there was one."""
        removed = [await self._remove(identity, file) for identity, file in self._noted.at(path)]
        return any(removed)

    # -- one output after another

    async def _derive(self, identity: str, index: int) -> None:
        known = self._journal.known(identity, self._terms.rule)
        if known is None:
            return
        planned, job, is_retired = known
        saved = job.outputs.get(index)
        if saved is None or (is_retired and (identity, index) not in self._counting):
            return
        for path, form in self._wanted(planned, saved):
            made = await self._maker.make(planned, saved, path, form)
            if made is not None and made.error:
                self._show(f"{planned.name}/{index}", made)

    def _wanted(self, planned: PlannedJob, saved: Saved) -> Iterator[tuple[str, DerivedForm]]:
        properties = properties_of(planned, self._terms.properties)
        for keys in self._forms:
            yield path_of(keys, planned, saved.index), DerivedForm.of(keys, properties)

    def _wants(self, identity: str, file: DerivedFile) -> bool:
        planned = self._journal.planned_job(identity)
        return planned is not None and any(
            path_of(keys, planned, file.index) == file.path for keys in self._forms
        )

    def _missing(self, planned: PlannedJob, saved: Saved) -> Iterator[str]:
        known = self._noted.of_job(planned.identity)
        for path, form in self._wanted(planned, saved):
            file = known.get(path)
            if file is None or not self._maker.is_made(file, saved, form):
                yield path

    def _show(self, output: str, failed: DerivedFile) -> None:
        self._shown += 1
        if self._shown <= _MOST_SHOWN:
            logger.warning(
                "no %s was derived from %s: %s",
                failed.form.format,
                clean(output),
                clean(failed.error, 300),
            )
        if self._shown == _MOST_SHOWN:
            logger.warning("the report has all files that could not be derived")

    async def _in_thread(self, work: Callable[[], Encoded]) -> Encoded:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    # -- what stands for another picture

    async def _remove_stale(self) -> None:
        current = CurrentOutputs(self._journal)
        for identity, file in self._noted.all():
            if not current.has(identity, file.index):
                await self._remove(identity, file)

    async def _remove(self, identity: str, file: DerivedFile) -> bool:
        try:
            return await self._maker.remove(identity, file)
        except OSError as error:
            logger.warning("%s can't be removed: %s", clean(file.path, 300), error.strerror)
            return False
