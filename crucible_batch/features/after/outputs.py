"""Runs the program for the outputs of a run, beside its jobs.

    program ends with   record            the next run
    exit code 0         done              does not run it again
    any other end       failed, why       tries again
    not at all          none              tries again

So it is run at least once for each output: if the process is killed between the program's end and
the record, it is run again. Nothing of it delays a purchase or a download, and no end of it is an
error of the run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager

from crucible_batch.core.events import Saved
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.redaction import clean
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.features.after.manifest_keys import AfterCommand
from crucible_batch.features.after.note import AfterRecord, NotedAfter
from crucible_batch.journal import Journal
from crucible_batch.report import AfterRow
from crucible_batch.runs.current_outputs import CurrentOutputs
from crucible_batch.runs.output_programs import OutputPrograms, reason_of_file
from crucible_batch.runs.output_queue import OutputQueue

logger = logging.getLogger(__name__)

WORKERS = 4
"""Programs that run at the same time."""
_MOST_SHOWN = 10
"""Warnings about programs that failed. The report counts all of them."""


class AfterOutputs:
    """The outputs of one run. To be used from its event loop."""

    def __init__(
        self, journal: Journal, rule: RetryRule, programs: OutputPrograms, command: AfterCommand
    ) -> None:
        self._journal = journal
        self._noted = NotedAfter(journal)
        self._rule = rule
        self._programs = programs
        self._command = command
        self._queue = OutputQueue(self._run, workers=WORKERS, subject="`after`")
        self._shown = 0

    def working(self) -> AbstractAsyncContextManager[None]:
        """Run programs during the block. Those that run at its end are stopped."""
        return self._queue.working()

    def offer(self, identity: str, index: int) -> None:
        """Run the program for an output as soon as a worker is free."""
        self._queue.offer(identity, index)

    async def conclude(self, leaving: asyncio.Event) -> AfterRow:
        """Run the program for the outputs that are left, of earlier runs as well, unless the run
        has to end, and count all outputs. Raises ``JournalError``.
        """
        for planned, saved in self._outputs():
            await asyncio.sleep(0)  # a signal is handled between two of many outputs
            if leaving.is_set():
                break
            if not self._is_done(planned.identity, saved):
                self.offer(planned.identity, saved.index)
        await self._queue.until_idle(leaving)
        if leaving.is_set():
            await self._queue.stop()
            await self._journal.drain()
        return self._counts()

    async def _run(self, identity: str, index: int) -> None:
        known = self._journal.known(identity, self._rule)
        saved = None if known is None else known[1].outputs.get(index)
        if known is None or saved is None or self._is_done(identity, saved):
            return
        record = await self._record(known[0], saved)
        if not record.is_done:
            self._show(f"{known[0].name}/{index}", record.reason)
        await self._noted.keep(identity, saved, record)

    async def _record(self, planned: PlannedJob, saved: Saved) -> AfterRecord:
        command = self._command
        try:
            end = await self._programs.run(command.run, command.timeout, planned, saved)
        except OSError as error:
            return AfterRecord(is_done=False, reason=reason_of_file(error))
        if end.code == 0:
            return AfterRecord(is_done=True)
        return AfterRecord(is_done=False, reason=end.reason)

    def _is_done(self, identity: str, saved: Saved) -> bool:
        record = self._noted.of(identity, saved)
        return record is not None and record.is_done

    def _show(self, output: str, reason: str) -> None:
        self._shown += 1
        if self._shown <= _MOST_SHOWN:
            logger.warning("after %s: %s; the next run tries again", clean(output), reason)
        if self._shown == _MOST_SHOWN:
            logger.warning("more failures of `after` are only counted")

    def _outputs(self) -> Iterator[tuple[PlannedJob, Saved]]:
        return CurrentOutputs(self._journal).all(self._rule)

    def _counts(self) -> AfterRow:
        records = [self._noted.of(planned.identity, saved) for planned, saved in self._outputs()]
        done = sum(record is not None and record.is_done for record in records)
        waiting = records.count(None)
        return AfterRow(done=done, failed=len(records) - done - waiting, waiting=waiting)
