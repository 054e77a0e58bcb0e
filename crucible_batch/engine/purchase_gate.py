"""Keeps a run from buying anything while it is paused, and while the gateway does not answer."""

from __future__ import annotations

import asyncio

from crucible_batch.core.events import HoldReleased
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.outage import Outage
from crucible_batch.core.ports import Gateway
from crucible_batch.engine.clock import Clock
from crucible_batch.engine.pause import Pause
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.errors import GatewayError, KeyRefusedError


class PurchaseGate:
    """A gate that is closed while the run is paused, and while the gateway does not answer.

    A job waits at it before its credits are held. If the gate is closed when the submit is about to
    be sent, the job releases its hold and waits again, so no credits are held for a submit that is
    not sent. Requests about jobs that are bought do not wait at the gate, and neither does the
    repetition of a submit in doubt, since the first try may have bought the job. A submit that an
    earlier run left in doubt waits at it before it is sent again.
    """

    def __init__(
        self, gateway: Gateway, outage: Outage, pause: Pause, stop: Shutdown, clock: Clock
    ) -> None:
        self._gateway = gateway
        self._outage = outage
        self._pause = pause
        self._stop = stop
        self._clock = clock
        self._asking = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether something may be bought now."""
        return not (self._stop.no_more or self._outage.is_on or self._pause.is_on)

    @property
    def is_paused(self) -> bool:
        return self._pause.is_on

    async def wait_until_open(self, *, holds_credits: bool = False) -> None:
        """Wait until the run is not paused and the gateway answers a request that buys nothing, or
        the run stops.

        ``holds_credits``: as for ``Pause.wait_until_over``. Raises ``KeyRefusedError`` if that is
        its answer, and ``GatewayError`` if there is none in the time allowed.
        """
        await self._pause.wait_until_over(holds_credits=holds_credits)
        while self._is_outage():
            async with self._asking:
                if self._is_outage():
                    await self._ask()
            await self._pause.wait_until_over(holds_credits=holds_credits)

    def _is_outage(self) -> bool:
        return self._outage.is_on and not self._stop.no_more

    async def _ask(self) -> None:
        try:
            await self._gateway.workflows()
        except GatewayError as error:
            if self._outage.is_on or isinstance(error, KeyRefusedError):
                raise

    def release_if_closed(self) -> HoldReleased | None:
        """Return the event that releases the hold of a job not sent yet, if the gate is closed."""
        if not self._outage.is_on:
            return self._pause.release_if_paused()
        error = ErrorInfo(
            "NO_ANSWER", "the gateway does not answer; the job is submitted once it does"
        )
        return HoldReleased(at=self._clock.now(), error=error)
