"""Cancellation of a command: by its deadline, and by the signals that ask a run to end."""

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
    """The time that a whole command may take, counted from when this is made. None: no limit."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def left_s(self) -> float | None:
        """The seconds left, 0 or more; None without a limit."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def check(self) -> None:
        """Raise ``DeadlineError`` once the time is over, for work that awaits nothing."""
        if self.left_s == 0:
            raise DeadlineError

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Cancel what the block awaits once the time is over, and raise ``DeadlineError``."""
        scope = asyncio.timeout(self.left_s)
        try:
            async with scope:
                yield
        except TimeoutError:
            if scope.expired():
                raise DeadlineError from None
            raise


class Interruptible(Protocol):
    def interrupt(self, code: ExitCode) -> None: ...


class Signals:
    """Routes signals to a run inside a ``with``, from the main thread. Ignored ones, as under ``nohup``, stay so.

    A signal that came after the run's last work, and so had no effect, is kept until ``pass_on``: it would be lost
    otherwise.
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
        """Raise the signals again that the run didn't handle, for the handlers of now."""
        while self._pending:
            signal.raise_signal(self._pending.pop(0))
            await asyncio.sleep(0)  # where asyncio's own handler of SIGINT cancels

    def _routed(self) -> list[signal.Signals]:
        return [number for number in _ROUTES if self._before[number] is not signal.SIG_IGN]

    def _catch(self, number: int, _frame: FrameType | None) -> None:
        # Python calls this between two instructions of the main thread, wherever that is; the run is interrupted in the
        # loop's next iteration.
        self._pending.append(signal.Signals(number))
        self._loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        if not self._is_over and self._pending:
            self._runner.interrupt(_ROUTES[self._pending.pop(0)])


@contextmanager
def at_once() -> Iterator[None]:
    """Let Ctrl-C end the block at once, from the main thread: there is nothing to finish in it.

    asyncio's own handler would only cancel a task, which neither a prompt nor the planning of many jobs notices.
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
