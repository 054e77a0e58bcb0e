"""Keeps a run from buying anything while the gateway does not answer."""

from __future__ import annotations

import asyncio

from crucible_batch.domain.events import HoldReleased
from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.outage import Outage
from crucible_batch.domain.ports import Gateway
from crucible_batch.engine.clock import Clock
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.errors import GatewayError, KeyRefusedError


class OutageGate:
    """A gate that is closed while the gateway does not answer.

    A job passes it before its credits are held. One that reaches its submit while the gate is closed releases its hold
    and returns to the gate, so nothing is held for what was not sent. Requests for what was bought before, and the
    repetition of a submit in doubt, which may be among it, do not pass the gate.
    """

    def __init__(self, gateway: Gateway, outage: Outage, stop: Shutdown, clock: Clock) -> None:
        self._gateway = gateway
        self._outage = outage
        self._stop = stop
        self._clock = clock
        self._asking = asyncio.Lock()

    async def passed(self) -> None:
        """Wait until the gateway answers a request that buys nothing, or the run stops.

        Raises ``KeyRefusedError`` if that is its answer, and ``GatewayError`` if there is none in the time allowed.
        """
        while not self._is_open_now():
            async with self._asking:
                if not self._is_open_now():
                    await self._ask()

    def _is_open_now(self) -> bool:
        return self._stop.no_more or not self._outage.is_on

    async def _ask(self) -> None:
        try:
            await self._gateway.account()
        except KeyRefusedError:
            raise
        except GatewayError:
            if self._outage.is_on:
                raise

    def turned_back(self) -> HoldReleased | None:
        """Return the event that releases the hold of a job not sent yet, if the gate is closed."""
        if not self._outage.is_on:
            return None
        error = ErrorInfo("NO_ANSWER", "the gateway does not answer; the job is submitted once it does")
        return HoldReleased(at=self._clock.now(), error=error)
