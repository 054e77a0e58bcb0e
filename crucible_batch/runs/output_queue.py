"""The outputs of a run that a feature works on beside its jobs: a queue, and a few workers.

Nothing of it delays a purchase or a download, and no error of the work ends the run: what is left
is for the next run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from crucible_batch.errors import CrucibleBatchError

logger = logging.getLogger(__name__)


class OutputQueue:
    """Works on outputs, each by the identity of its job and its number.

    To be used from the event loop of the run. ``subject`` is what the work on one output is called
    in logs. ``again``: an output may be offered once more after the work on it has ended.
    """

    def __init__(
        self,
        work: Callable[[str, int], Awaitable[None]],
        *,
        workers: int,
        subject: str,
        again: bool = False,
    ) -> None:
        self._work = work
        self._count = workers
        self._subject = subject
        self._again = again
        self._waiting: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self._taken: set[tuple[str, int]] = set()
        self._workers: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Work during the block. What is in work at its end is cancelled."""
        self._workers = [asyncio.create_task(self._take()) for _ in range(self._count)]
        try:
            yield
        finally:
            await self.stop()

    def offer(self, identity: str, index: int) -> None:
        """Work on an output as soon as a worker is free."""
        if (identity, index) not in self._taken:
            self._taken.add((identity, index))
            self._waiting.put_nowait((identity, index))

    async def until_idle(self, leaving: asyncio.Event) -> None:
        """Return when no output is left, or soon after ``leaving`` is set."""
        idle = asyncio.create_task(self._waiting.join())
        over = asyncio.create_task(leaving.wait())
        try:
            await asyncio.wait([idle, over], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (idle, over):
                task.cancel()
            await asyncio.wait([idle, over])

    async def stop(self) -> None:
        """Cancel what is in work. May be repeated."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.wait(self._workers)

    async def _take(self) -> None:
        while True:
            identity, index = await self._waiting.get()
            try:
                await self._work(identity, index)
            except CrucibleBatchError as error:
                # The engine meets it as well, and stops for it if it has to.
                logger.debug("%s is left to the next run: %s", self._subject, error)
            except Exception as error:
                logger.warning(
                    "%s is left to the next run: %s", self._subject, type(error).__name__
                )
                logger.debug("the error of %s", self._subject, exc_info=error)
            finally:
                if self._again:
                    self._taken.discard((identity, index))
                self._waiting.task_done()
