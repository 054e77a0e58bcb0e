"""Cancellation of a command by its deadline, and of a run by signals."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Protocol

from crucible_batch.errors import DeadlineError, ExitCode

_ROUTES = {
    signal.SIGINT: ExitCode.SIGINT,
    signal.SIGTERM: ExitCode.SIGTERM,
    signal.SIGHUP: ExitCode.SIGTERM,
}


class Deadline:
    """The deadline of a command, in seconds from the construction of the object. None: no limit."""

    def __init__(self, seconds: float | None) -> None:
        self._began = time.monotonic()
        self._end: float | None = None
        self.set(seconds)

    def set(self, seconds: float | None) -> None:
        """Set the deadline, in seconds from the construction of the object.

        None changes nothing.
        """
        if seconds is not None:
            self._end = self._began + seconds

    def restart(self, seconds: float) -> None:
        """Replace the deadline, in seconds from now."""
        self._end = time.monotonic() + seconds

    @property
    def left_s(self) -> float | None:
        """The seconds left, 0 or more; None without a limit."""
        if self._end is None:
            return None
        return max(0.0, self._end - time.monotonic())

    def check(self) -> None:
        """Raise ``DeadlineError`` if the deadline has passed.

        For blocking work, which can't be cancelled.
        """
        if self.left_s == 0:
            raise DeadlineError

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Cancel the block when the deadline passes, and raise ``DeadlineError``."""
        scope = asyncio.timeout(self.left_s)
        try:
            async with scope:
                yield
        except TimeoutError:
            if scope.expired():
                raise DeadlineError from None
            raise


class Interruptible(Protocol):
    """A run that can be stopped in good order."""

    def interrupt(self, code: ExitCode) -> None: ...


class Signals:
    """A context manager that routes signals to a run; main thread only.

    Signals that were ignored before, as under ``nohup``, stay ignored. A signal that arrives too
    late to interrupt the run is kept for ``pass_on``; otherwise it would be lost.
    """

    def __init__(self, runner: Interruptible) -> None:
        self._runner = runner
        self._loop = asyncio.get_running_loop()
        self._pending: list[signal.Signals] = []
        self._is_over = False
        self._before = {number: signal.getsignal(number) for number in _ROUTES}

    def __enter__(self) -> Signals:
        for number in self._routed():
            signal.signal(number, self._catch)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        for number in self._routed():
            signal.signal(number, self._before[number] or signal.SIG_DFL)

    async def pass_on(self) -> None:
        """Raise the signals that the run didn't handle again, for the restored handlers."""
        while self._pending:
            signal.raise_signal(self._pending.pop(0))
            await asyncio.sleep(0)  # asyncio's own SIGINT handler cancels the task here

    def _routed(self) -> list[signal.Signals]:
        return [number for number in _ROUTES if self._before[number] is not signal.SIG_IGN]

    def _catch(self, number: int, _frame: FrameType | None) -> None:
        # Python may call this between any two instructions of the main thread, so the run is
        # interrupted in the next iteration of the event loop.
        self._pending.append(signal.Signals(number))
        self._loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        if not self._is_over and self._pending:
            self._runner.interrupt(_ROUTES[self._pending.pop(0)])


@contextmanager
def interruptible_immediately() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` in the block immediately on Ctrl-C; main thread only.

    For blocks with nothing to finish. asyncio's own handler would only cancel the task, which has
    no effect during a prompt or the planning of many jobs.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
