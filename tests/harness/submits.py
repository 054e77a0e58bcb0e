"""Runs that are killed or frozen at a request, by default at a submit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import pytest

from crucible_batch.engine import Clock
from crucible_batch.runs.journal_log import LoggedJournal
from tests.harness.bench import Tampered

Send = Callable[[], Awaitable[httpx.Response]]


def is_submit(request: httpx.Request) -> bool:
    return request.url.path.endswith("/generate")


class Killed(BaseException):
    """The process is gone: nothing that follows is done."""


def stopping_at(count: int, *, answered: bool) -> httpx.AsyncBaseTransport:
    """Return a transport whose process is killed at a submit, and at all after it.

    That submit is not sent, unless ``answered``: then its answer is lost.
    """
    seen = 0

    async def tamper(request: httpx.Request, send: Send) -> httpx.Response:
        nonlocal seen
        if is_submit(request):
            seen += 1
            if seen >= count:
                if answered and seen == count:
                    await send()
                raise Killed
        return await send()

    return Tampered(tamper)


def is_poll(request: httpx.Request) -> bool:
    return request.method == "GET" and "/jobs/" in request.url.path


@dataclass
class Waiting:
    """Requests wait from the ``count``-th on.

    ``reached`` is set when the first of them waits; who sets ``released`` lets them go. ``sent`` is
    the number of such requests so far.
    """

    count: int = 1
    which: Callable[[httpx.Request], bool] = is_submit
    sent: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def transport(self) -> httpx.AsyncBaseTransport:
        return Tampered(self._tamper)

    async def _tamper(self, request: httpx.Request, send: Send) -> httpx.Response:
        if self.which(request):
            self.sent += 1
            if self.sent >= self.count:
                self.reached.set()
                await self.released.wait()
        return await send()


def freeze_logs(patch: pytest.MonkeyPatch) -> asyncio.Event:
    """Let no log grow by itself, as if its process was frozen, until the event is set."""
    keep, awake = LoggedJournal.keep, asyncio.Event()

    async def frozen(log: LoggedJournal, clock: Clock) -> None:
        await awake.wait()
        await keep(log, clock)

    patch.setattr(LoggedJournal, "keep", frozen)
    return awake


@dataclass
class SubmittedKeys:
    """Collects in ``unknown`` the idempotency keys that aren't known when they are submitted."""

    is_known: Callable[[str], bool]
    unknown: list[str] = field(default_factory=list)

    def transport(self) -> httpx.AsyncBaseTransport:
        return Tampered(self._tamper)

    async def _tamper(self, request: httpx.Request, send: Send) -> httpx.Response:
        if is_submit(request):
            key = json.loads(await request.aread())["idempotency_key"]
            if not self.is_known(key):
                self.unknown.append(key)
        return await send()
