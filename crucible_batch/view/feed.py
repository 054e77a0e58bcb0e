"""Server-sent events: what happened to a run since its page was made, and that the list of runs is another.

Written by hand and not with sse-starlette: an event is three lines of text (HTML, 9.2.5), and the one hard thing, an
end that doesn't wait for those who listen, is the ``stopping`` that the server's own end sets.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

from crucible_batch.api import Snapshot
from crucible_batch.errors import CrucibleBatchError
from crucible_batch.view.pages import run_change
from crucible_batch.view.runs import RunEntry, Runs, ShownRun

BUSY_S, IDLE_S = 0.5, 2.0
KEEP_ALIVE_S = 15.0
"""Well below the minute after which proxies and laptops drop a silent connection."""
HELLO = "retry: 1000\n\n"


def event(kind: str, data: str = "{}") -> str:
    """Write one event; ``data`` is JSON without line ends."""
    return f"event: {kind}\ndata: {data}\n\n"


async def run_feed(run: ShownRun, edition: int, after: int, stopping: asyncio.Event) -> AsyncIterator[str]:
    """Yield ``change`` whenever anything happened, until ``anew`` says that the page has to ask for everything.

    ``gone`` ends it where the journal can no longer be read.
    """
    beat = _Beat()
    yield HELLO
    try:
        while not stopping.is_set():
            sight = await run.look()
            if sight.edition != edition:
                yield event("anew")
                return
            if sight.number > after:
                newer, change = await run.read(partial(run_change, key=run.key, after=after))
                after = newer.number
                yield beat.spoken(event("change", change))
            elif beat.is_due():
                yield beat.spoken(": still here\n\n")
            await _pause(BUSY_S if sight.status.running else IDLE_S, stopping)
    except CrucibleBatchError:
        yield event("gone")


async def list_feed(runs: Runs, stopping: asyncio.Event) -> AsyncIterator[str]:
    """Yield ``changed`` whenever the list would look another, and once at first: it may have been made a while ago."""
    beat, before = _Beat(), None
    yield HELLO
    while not stopping.is_set():
        entries = await runs.entries()
        now = [_looks(entry) for entry in entries]
        if now != before:
            before = now
            yield beat.spoken(event("changed"))
        elif beat.is_due():
            yield beat.spoken(": still here\n\n")
        busy = any(entry.sight is not None and entry.sight.status.running for entry in entries)
        await _pause(2 * BUSY_S if busy else IDLE_S, stopping)


def _looks(entry: RunEntry) -> tuple[str, Snapshot | None, str | None]:
    return entry.run.key, entry.sight, entry.trouble


class _Beat:
    """When something was said last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spoke_at = clock()

    def spoken(self, text: str) -> str:
        self._spoke_at = self._clock()
        return text

    def is_due(self) -> bool:
        return self._clock() - self._spoke_at >= KEEP_ALIVE_S


async def _pause(seconds: float, stopping: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
