"""The network of a cluster: what separates processes from the database and from the gateway."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx
from psycopg.rows import DictRow

from crucible_batch.cluster import ClusterAddress
from crucible_batch.cluster.database import ClusterDatabase
from tests.verification.fleet.database import NAMES, RuleConnection, RuleDatabase
from tests.verification.fleet.evidence import Observations
from tests.verification.nights.machine import in_the_world

_SILENT_S = 1.0
_LATE_S = 4.5
"""The server ends a statement after 5 s; what it executes until then takes effect without its sender."""


@dataclass(eq=False)
class Link:
    """What one process can reach. A cut lets no request through, and no answer of one that is on its way."""

    process: str
    chance: random.Random
    seen: Observations
    has_database: bool = True
    has_gateway: bool = True
    slow_database: float = 0.0
    """The share of statements that arrive seconds later."""

    async def carry(self, call: Callable[[], list[DictRow]]) -> list[DictRow]:
        """Send a statement to the database, and return its rows."""
        if not self.has_database:
            await asyncio.sleep(self.chance.uniform(0.01, _SILENT_S))
            raise OSError("the network is down")
        # Shielded: what was sent arrives, even if its sender is killed or gives up.
        rows = await asyncio.shield(in_the_world(self._executed(call)))
        await asyncio.sleep(self.chance.uniform(0.001, 0.02))
        if not self.has_database:
            await asyncio.sleep(_SILENT_S)
            raise OSError("the connection is lost")
        return rows

    async def _executed(self, call: Callable[[], list[DictRow]]) -> list[DictRow]:
        is_late = self.chance.random() < self.slow_database
        await asyncio.sleep(self.chance.uniform(0.5, _LATE_S) if is_late else self.chance.uniform(0.001, 0.02))
        return call()


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


class _SeenConnection(RuleConnection):
    """A connection of a process, which notes what is asked and answered."""

    def __init__(self, address: ClusterAddress, database: RuleDatabase, *, patience_s: float, link: Link) -> None:
        super().__init__(address, database, patience_s=patience_s, carry=link.carry)
        self._link = link

    async def _try(self, statement: str, values: Mapping[str, object] | None) -> list[DictRow]:
        sent_at = self._link.seen.now()
        rows = await super()._try(statement, values)
        self._link.seen.statement(self._link.process, sent_at, statement, values or {}, rows)
        return rows


@dataclass(eq=False)
class Site:
    """The database and the queue of a cluster, as its processes open them. ``links`` are those of the processes."""

    database: RuleDatabase
    address: ClusterAddress
    link: Callable[[], Link]
    tasks: dict[str, object] = field(default_factory=dict)

    async def opened(
        self, _address: ClusterAddress, *, create: bool = False, patience_s: float = 120.0, lease_s: float = 15.0
    ) -> ClusterDatabase:
        """Do what ``ClusterDatabase.opened`` does."""
        link = self.link()
        first = self._connection(link, 0.0)
        await first.rows("runs", {"run": ""})
        return ClusterDatabase(self._connection(link, patience_s), statements=NAMES, lease_s=lease_s)

    def _connection(self, link: Link, patience_s: float) -> RuleConnection:
        return _SeenConnection(self.address, self.database, patience_s=patience_s, link=link)
