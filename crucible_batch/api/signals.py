"""Signals that ask a run to end: routed to it while it works, and passed on where they came too late for it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from crucible_batch.errors import ExitCode

_ROUTES = {
    signal.SIGINT: ExitCode.SIGINT,
    signal.SIGTERM: ExitCode.SIGTERM,
    signal.SIGHUP: ExitCode.SIGTERM,
}


class Interruptible(Protocol):
    """What works, and can be asked to end."""

    def interrupt(self, code: ExitCode) -> None: ...


class Signals:
    """Routes signals to a run inside a ``with``, from the main thread. Ignored ones, as under ``nohup``, stay so.

    What came when the run had nothing left to do, and so was never heard, is kept until ``pass_on``: between the run's
    last work and the end of the routing it would be lost otherwise.
    """

    def __init__(self, runner: Interruptible) -> None:
        self._runner = runner
        self._loop = asyncio.get_running_loop()
        self._unheard: list[signal.Signals] = []
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
        """Raise again what the run never heard of, for whoever handles it now."""
        while self._unheard:
            signal.raise_signal(self._unheard.pop(0))
            await asyncio.sleep(0)  # where asyncio's own handler of SIGINT cancels

    def _routed(self) -> list[signal.Signals]:
        return [number for number in _ROUTES if self._before[number] is not signal.SIG_IGN]

    def _catch(self, number: int, _frame: FrameType | None) -> None:
        # Python calls this between two instructions of the main thread, wherever that is; the run hears of it in the
        # loop's next turn, as of everything else.
        self._unheard.append(signal.Signals(number))
        self._loop.call_soon_threadsafe(self._hear)

    def _hear(self) -> None:
        if not self._is_over and self._unheard:
            self._runner.interrupt(_ROUTES[self._unheard.pop(0)])


@contextmanager
def at_once() -> Iterator[None]:
    """Let Ctrl-C end what is done within at once, from the main thread: there is nothing to bring to a good end.

    asyncio's own handler would only cancel a task, which a question or the planning of many jobs doesn't hear of.
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
