"""The network of a play: what separates processes from the gateway."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import httpx

from tests.verification.fleet.evidence import Observations

_SILENT_S = 1.0


@dataclass(eq=False)
class Link:
    """What one process can reach.

    A cut lets no request through, and no answer of one that is on its way.
    """

    process: str
    chance: random.Random
    seen: Observations
    has_gateway: bool = True


@dataclass(eq=False)
class ProcessTransport(httpx.AsyncBaseTransport):
    """The gateway as one process reaches it."""

    gateway: httpx.AsyncBaseTransport
    link: Link

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.link.seen.request(self.link.process, request)
        if not self.link.has_gateway:
            await asyncio.sleep(self.link.chance.uniform(0.01, _SILENT_S))
            raise httpx.ConnectError("the network is down", request=request)
        response = await self.gateway.handle_async_request(request)
        if not self.link.has_gateway:
            await asyncio.sleep(_SILENT_S)
            raise httpx.ReadError("the connection is lost", request=request)
        return response
