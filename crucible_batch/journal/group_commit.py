"""Group commit.

One thread writes, in one transaction, all that was queued during the previous commit's sync. The
running fsync is the batching window; there is no timer. A single producer waits for one commit; 64
producers share one.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crucible_batch.errors import JournalError
from crucible_batch.journal.database import transaction

Statement = tuple[str, Sequence[object]]


@dataclass(frozen=True, slots=True)
class _Write:
    statements: Sequence[Statement]
    done: asyncio.Future[None]


class GroupCommitWriter:
    """A writer that executes statements durably and in order, many in one transaction.

    ``connect`` is called in the writer's own thread. After the first error all later writes fail
    too, since it is unknown what a failed sync left on disk. Use from one event loop.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._failure: JournalError | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="journal-writer", daemon=True)
        self._thread.start()

    async def write(self, *statements: Statement) -> None:
        """Execute statements in one transaction, and return when they are durable.

        Raises ``JournalError`` if they can't be written. Cancelling the wait doesn't cancel the
        statements. Raises after ``close``, too: nothing would ever answer.
        """
        if self._failure is not None:
            raise self._failure
        if self._is_closed:
            raise JournalError(
                "the journal is closed: the run has ended",
                hint="run the same command again to resume",
            )
        done = asyncio.get_running_loop().create_future()
        self._queue.put(_Write(statements, done))
        await done

    async def drain(self) -> None:
        """Return when all statements are durable, including those whose wait was cancelled.

        Raises ``JournalError``.
        """
        await self.write()

    def close(self) -> None:
        """Write the queued statements and end the thread.

        May be called twice, from the thread of the event loop.
        """
        self._is_closed = True
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        try:
            while True:
                batch = self._gather()
                if not batch:
                    break
                if self._failure is None:
                    try:
                        connection = connection or self._connect()
                        _commit(connection, batch)
                    # If the thread ended, all writers would wait forever.
                    except Exception as error:  # noqa: BLE001
                        self._failure = _journal_error(error)
                _resolve(batch, self._failure)
        finally:
            if connection is not None:
                connection.close()

    def _gather(self) -> list[_Write]:
        """Wait for a write, and return it with all that are queued.

        The list is empty if the writer is closed.
        """
        first = self._queue.get()
        if first is None:
            return []
        batch = [first]
        while True:
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                return batch
            if following is None:
                self._queue.put(None)
                return batch
            batch.append(following)


def _commit(connection: sqlite3.Connection, batch: Sequence[_Write]) -> None:
    with transaction(connection):
        for write in batch:
            for statement in write.statements:
                connection.execute(*statement)


def _resolve(batch: Sequence[_Write], failure: JournalError | None) -> None:
    """Complete the futures of a batch with a single call into the event loop."""

    def settle() -> None:
        for write in batch:
            if write.done.done():  # its waiter was cancelled
                continue
            if failure is None:
                write.done.set_result(None)
            else:
                write.done.set_exception(failure)

    loop = batch[0].done.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)


def _journal_error(error: Exception) -> JournalError:
    return JournalError(
        f"the journal can't be written: {error}",
        hint=(
            "check the disk (full? read-only?) and run the same command again; "
            "all journalled events are intact"
        ),
    )
