"""Time that passes only while everybody waits for it: an event loop with real sockets and threads,
and its own clock.

A run against a server in the same loop does the same on an idle and on a busy machine: what is
computed, sent and written takes no time at all, and where nothing is left to do but wait, the clock
is put forward to the next timer.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from crucible_batch.journal.group_commit import GroupCommitWriter, Statement

_DELIVERY_S = 0.0003
"""How long the kernel is given, in real time, to deliver what was sent.

Over the loopback it does so at once.
"""
_THREAD_S = 0.05


class _SkippingSelector(selectors.DefaultSelector):
    """Sockets as they are; where all would wait, the clock goes on at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.at_work = 0
        self.others = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        # One call of the kernel each time: all of these return at once where something is ready.
        if timeout is None or timeout <= 0:  # None: for a signal, or another process
            return super().select(timeout)
        if self.others:
            return super().select(0) or self._really(timeout)
        if self.at_work:
            return super().select(_THREAD_S)
        if ready := super().select(_DELIVERY_S):
            return ready
        self.now_s += timeout
        return []

    def _really(self, timeout: float) -> list[Any]:
        began = time.monotonic()
        ready = super().select(timeout)
        self.now_s += time.monotonic() - began
        return ready


class TimeSkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while there is work, also in its threads, and skips
    what would be waiting.

    Work that it can't see, such as that of a thread of one's own, is marked by ``work``.
    """

    def __init__(self) -> None:
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._skipping.now_s

    @contextmanager
    def work(self) -> Iterator[None]:
        """Let no time pass within the block, even where the loop has nothing to do."""
        self._skipping.at_work += 1
        try:
            yield
        finally:
            self._skipping.at_work -= 1

    @contextmanager
    def real_time(self) -> Iterator[None]:
        """Let time pass within the block as it does for others, such as a started command."""
        self._skipping.others += 1
        try:
            yield
        finally:
            self._skipping.others -= 1

    def run_in_executor(
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:  # type: ignore[override]
        """Time stands still until the work is done, even if nobody waits for it any more."""

        def done(_future: object) -> None:
            self._skipping.at_work -= 1

        self._skipping.at_work += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(done)
        return future

    async def shutdown_default_executor(self, *timeout: float | None) -> None:  # type: ignore[override]
        """Time stands still while the threads end: from Python 3.13 on, a timer limits it."""
        with self.work():
            await super().shutdown_default_executor(*timeout)


_write = GroupCommitWriter.write


async def write_in_no_time(self: GroupCommitWriter, *statements: Statement) -> None:
    """Write to the journal while time stands still: the loop doesn't know of its thread. To replace
    its ``write``.
    """
    loop = asyncio.get_running_loop()
    with loop.work() if isinstance(loop, TimeSkippingLoop) else nullcontext():
        await _write(self, *statements)


def loops_for(
    item: pytest.Item, fixture: str
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Answer ``pytest_asyncio_loop_factories``: tests that use ``fixture`` run in a loop that skips
    time.
    """
    is_skipping = fixture in getattr(item, "fixturenames", ())
    return {"skipping": TimeSkippingLoop} if is_skipping else plain_loops()


def plain_loops() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Answer ``pytest_asyncio_loop_factories`` where all tests need real time."""
    return {"plain": asyncio.new_event_loop}
