"""The pause of a run: nothing is bought, and what is in flight is collected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from crucible_batch.core.events import HoldReleased
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.engine.clock import Clock
from crucible_batch.engine.shutdown import Shutdown

PAUSED = "PAUSED"
_COMMANDED = "the run is paused; the job is submitted once it is resumed"
_SUSPENDED = "new commands can't be read; the job is submitted once they can"


class Pause:
    """Whether the run is paused. Everything here is called from the event loop.

    No credits are held and no submit or upload is begun in a pause. Jobs wait in
    ``wait_until_over``, without their slots, so that jobs in flight can have them: ``give_back``
    returns the caller's slot for a block, its argument is whether the caller holds credits. A run
    that is stopping does not wait for the end of its pause. A worker that can't know whether its
    run is paused *suspends* it: the same as a pause, but without a command, and until the worker
    knows.
    """

    def __init__(
        self,
        stop: Shutdown,
        clock: Clock,
        give_back: Callable[[bool], AbstractAsyncContextManager[None]],
    ) -> None:
        self.is_suspended = False
        self.on_change: list[Callable[[], None]] = []
        self._stop = stop
        self._clock = clock
        self._give_back = give_back
        self._changed = asyncio.Event()
        self._is_commanded = False

    @property
    def is_on(self) -> bool:
        """Whether nothing may be bought now."""
        return self._is_commanded or self.is_suspended

    def begin(self) -> None:
        """Pause.

        Nothing is bought once this returns, except by submits and uploads that were sent before.
        """
        self._is_commanded = True
        self._notify()

    def end(self) -> None:
        self._is_commanded = False
        self._notify()

    def suspend(self, is_suspended: bool = True) -> None:
        """Begin or end a suspension, which is independent of a pause and is neither journalled nor
        shown."""
        if is_suspended != self.is_suspended:
            self.is_suspended = is_suspended
            self._notify()

    def _notify(self) -> None:
        for callback in self.on_change:
            callback()
        self.wake()

    def wake(self) -> None:
        """Let the waiting jobs check again whether they have to wait: the run may be stopping."""
        self._changed.set()

    async def wait_until_over(self, *, holds_credits: bool = False) -> None:
        """Return immediately if the run is not paused; else when it is resumed or stops, with a
        slot again.

        ``holds_credits``: whether the job does, since an earlier run sent its submit.
        """
        if not self._must_wait():
            return
        async with self._give_back(holds_credits):
            while self._must_wait():
                self._changed.clear()
                await self._changed.wait()

    def _must_wait(self) -> bool:
        return self.is_on and not self._stop.no_more

    def release_if_paused(self) -> HoldReleased | None:
        """Return the event that releases the hold of a job not sent yet, if the run is paused."""
        if not self.is_on:
            return None
        reason = _SUSPENDED
        if self._is_commanded:
            reason = _COMMANDED
        return HoldReleased(at=self._clock.now(), error=ErrorInfo(PAUSED, reason))
