"""A run of the server: its progress, and how it is stopped."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext

import anyio

from crucible_batch.cli.display.progress_state import ProgressState
from crucible_batch.core.credits import format_credits
from crucible_batch.core.progress import Message
from crucible_batch.errors import ExitCode
from crucible_batch.runs.cancellation import Interruptible
from crucible_batch.runs.parts import ReadyRun, RunPart

SendProgress = Callable[[float, float | None, str | None], Awaitable[None]]
"""Report to the client how many jobs are done, of how many, with a message."""


class ActiveRun:
    """An observer of a run that can be stopped as by Ctrl-C.

    The first time, jobs in flight are still collected.
    """

    def __init__(self) -> None:
        self.is_stopping = False
        self._is_over = False
        self._runner: Interruptible | None = None
        self._state = ProgressState()
        self._change = anyio.Event()

    def began(self, runner: Interruptible) -> None:
        """Take what stops the run.

        A stop that was requested before takes effect now: nothing was bought yet.
        """
        self._runner = runner
        if self.is_stopping:
            runner.interrupt(ExitCode.SIGINT)

    def stop(self) -> None:
        """Stop buying. The second call leaves the jobs in flight to the next run."""
        self.is_stopping = True
        if self._runner is not None:
            self._runner.interrupt(ExitCode.SIGINT)

    def ended(self) -> None:
        self._is_over = True

    async def stop_when_cancelled(self) -> None:
        """Wait, and stop the run when this task is cancelled, unless it is stopping or over."""
        try:
            await anyio.sleep_forever()
        finally:
            if not self.is_stopping and not self._is_over:
                self.stop()

    def notify(self, message: Message) -> None:
        before = self._state.done, self._state.total
        self._state.take(message, time.time())
        if (self._state.done, self._state.total) != before:
            self._change.set()

    async def report(self, send: SendProgress) -> None:
        """Report changes to the client until cancelled.

        Those that come faster than they can be sent are joined.
        """
        while True:
            await self._change.wait()
            self._change = anyio.Event()
            state = self._state
            spent = format_credits(state.balance.bought) if state.balance else "0"
            words = f"{state.done} of {state.total} jobs done, {spent} credits spent"
            await send(state.done, state.total, words)


class StoppablePart(RunPart):
    """Gives a run that is about to buy to the client, which may stop it."""

    def __init__(self, active: ActiveRun) -> None:
        self._active = active

    def beside(self, run: ReadyRun) -> AbstractAsyncContextManager[object]:
        self._active.began(run.desk.control)
        return nullcontext()
