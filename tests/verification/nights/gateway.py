"""The gateway of the nights: the sandbox's API and storage without a socket, with outages and
another client.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import httpx
from PIL import Image

from crucible_batch.sandbox.app import create_api
from crucible_batch.sandbox.config import SandboxConfig
from crucible_batch.sandbox.faults import parse_faults
from crucible_batch.sandbox.gateway import Gateway
from crucible_batch.sandbox.jobs import Order
from crucible_batch.sandbox.records import Entry, Job
from crucible_batch.sandbox.storage import create_storage
from crucible_batch.sandbox.store import Store
from crucible_batch.sandbox.world import World
from tests.harness.sandbox_audit import audit_world
from tests.verification.nights.machine import NightClock, in_the_world

KEY = "moltazine_nights"
API = "http://127.0.0.1:8701"
_STORAGE = "http://127.0.0.1:8702"
_ONE_WAY_S = 0.02
STRANGERS_WORKFLOW = "zimage-sheet"


def plain_picture(job: Job, index: int, _source: bytes | None) -> bytes:
    """Draw an output in one colour: the sandbox's own pictures take half the time of a play."""
    shape = job.outputs[index]
    colour = hashlib.sha256(f"{job.job_id} {index}".encode()).digest()
    buffer = io.BytesIO()
    Image.new("RGB", (shape.width, shape.height), (colour[0], colour[1], colour[2])).save(
        buffer, "PNG"
    )
    return buffer.getvalue()


@dataclass
class Conditions:
    """What the gateway and its account are like at a moment.

    The play changes them; the judge only reads them.
    """

    outages: list[tuple[datetime, datetime]] = field(default_factory=list)

    def is_out(self, moment: datetime) -> bool:
        return any(begin <= moment < end for begin, end in self.outages)


class NightGateway(httpx.AsyncBaseTransport):
    """A transport to the gateway, which outlives all processes.

    Its ledger is what the judge goes by.
    """

    def __init__(self, clock: NightClock, config: SandboxConfig) -> None:
        self._clock = clock
        self._store = Store(None)
        self._gateway = Gateway(config, self._store, clock.now)
        self._gateway.storage_url = _STORAGE
        self._origins = {
            httpx.URL(API).port: httpx.ASGITransport(create_api(self._gateway)),
            httpx.URL(_STORAGE).port: httpx.ASGITransport(create_storage(self._gateway)),
        }
        self._account = self.world.authenticate(KEY)
        self._strangers = 0
        self._countdown = 0
        self._at_zero: Callable[[], None] | None = None
        self.conditions = Conditions()

    @property
    def world(self) -> World:
        return self._gateway.world

    @property
    def violations(self) -> list[str]:
        return [
            f"{each.kind}: {each.operation}: {each.detail}"
            for each in self._gateway.seen.violations
        ]

    def close(self) -> None:
        self._store.__exit__()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer as the sandbox does.

        What was sent arrives, even if its sender is killed meanwhile.
        """
        await request.aread()
        await asyncio.sleep(_ONE_WAY_S)
        self._count_down()
        if self.conditions.is_out(self._clock.moment()):
            raise httpx.ConnectError("the gateway can't be reached", request=request)
        return await in_the_world(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        response = await self._origins[request.url.port].handle_async_request(request)
        await response.aread()
        await asyncio.sleep(_ONE_WAY_S)
        return httpx.Response(
            response.status_code, headers=response.headers, content=response.content
        )

    def after_requests(self, count: int, act: Callable[[], None] | None) -> None:
        """Call a function when the ``count``-th request from now on has been sent."""
        self._countdown, self._at_zero = count, act

    def _count_down(self) -> None:
        self._countdown -= 1
        if self._countdown <= 0 and self._at_zero is not None:
            act, self._at_zero = self._at_zero, None
            asyncio.get_running_loop().call_soon(act, context=Context())

    async def aclose(self) -> None:
        """Do nothing: each process closes its transport, and the gateway stays."""

    # -- what happens to the account and the gateway

    def available(self) -> Decimal:
        return self.world.credits(self._account, self._clock.now())[0].available

    def drain(self) -> None:
        """Let another client of the account spend all that is available on one picture."""
        self.world.jobs.prices[STRANGERS_WORKFLOW] = self.available()
        self._strangers += 1
        order = Order(
            STRANGERS_WORKFLOW,
            {"prompt.text": f"stranger {self._strangers}"},
            f"stranger-{self._strangers}",
        )
        self.world.submit(self._account, order, self._clock.now())

    def top_up(self, credits: Decimal) -> None:
        """Let somebody buy credits."""
        self.world.credits(self._account, self._clock.now())
        self.world._ledger.post(
            self._account, "grant", credits, self._clock.now(), description="Top-up"
        )

    def strike(self, faults: str) -> None:
        """Replace the faults of the sandbox; see ``parse_faults``."""
        self._gateway.faults.replace(parse_faults(faults))

    def price(self, workflow_id: str, credits: Decimal) -> None:
        self.world.jobs.prices[workflow_id] = credits

    # -- what the judge reads

    def entries(self) -> list[Entry]:
        """Return the complete ledger, oldest row first, without the other client's rows."""
        self.world.credits(self._account, self._clock.now())
        return [entry for entry in self.world.entries if entry.description != STRANGERS_WORKFLOW]

    def jobs(self) -> list[Job]:
        """Return our jobs, in the order of their purchase."""
        self.world.credits(self._account, self._clock.now())
        return [job for job in self.world.jobs if job.workflow_id != STRANGERS_WORKFLOW]

    def problems(self) -> list[str]:
        """Return what the sandbox's own audit objects to."""
        return list(audit_world(self.world, self._clock.now()).problems)
