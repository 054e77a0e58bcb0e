"""Server-sent events (HTML, 9.2.5): the changes of a run's page, and of the list of runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from crucible_batch.errors import CrucibleBatchError
from crucible_batch.features import found
from crucible_batch.features.view.pages import fields_digest, pace, run_change
from crucible_batch.features.view.runs import Runs, ShownRun
from crucible_batch.report.html import compact

BUSY_S, IDLE_S = 0.5, 2.0
PACE_EVERY_S = 5.0
KEEP_ALIVE_S = 15.0
"""Well below the minute after which proxies and laptops drop a silent connection."""
HELLO = "retry: 1000\n\n"


def event(kind: str, data: str = "{}") -> str:
    """Format one event; ``data`` is JSON without line breaks."""
    return f"event: {kind}\ndata: {data}\n\n"


async def run_feed(
    run: ShownRun,
    edition: int,
    after: int,
    stopping: asyncio.Event,
    *,
    commands: int,
    fields: str | None = None,
) -> AsyncIterator[str]:
    """Yield ``change`` for each event after ``after``.

    Also for each command to the run after the first ``commands``. ``replaced`` ends the feed: the
    page has to load all data again.

    The event ``fields`` has what features add to the page: all of it unless the page has it (by its
    digests in the argument ``fields``; None: nothing is sent), then what has changed. While the
    run is active, ``pace`` is sent every ``PACE_EVERY_S``, since a rate falls if no job
    ends. Ends with ``gone`` if the journal can no longer be read.
    """
    keep_alive, paced_at = _KeepAlive(), time.monotonic()
    features = list[_Fields]()
    if fields is not None:
        known = fields.split("-")
        features = [_Fields(module, run.directory, known) for module in found("page_fields")]
    yield HELLO
    try:
        while not stopping.is_set():
            snapshot = await run.look()
            if snapshot.edition != edition:
                yield event("replaced")
                return
            for each in features:
                changed = await asyncio.to_thread(each.changed)
                if changed is not None:
                    yield keep_alive.sent(event("fields", compact(changed)))
            if snapshot.number > after or snapshot.commands != commands:
                newer, change = await run.read(partial(run_change, key=run.key, after=after))
                after, commands = newer.number, newer.commands
                yield keep_alive.sent(event("change", change))
            elif snapshot.status.running and time.monotonic() - paced_at >= PACE_EVERY_S:
                paced_at = time.monotonic()
                yield keep_alive.sent(event("pace", compact({"pace": pace(snapshot, time.time())})))
            elif keep_alive.is_due():
                yield keep_alive.sent(": still here\n\n")
            await _pause(BUSY_S if snapshot.status.running else IDLE_S, stopping)
    except CrucibleBatchError:
        yield event("gone")


async def list_feed(runs: Runs, stopping: asyncio.Event) -> AsyncIterator[str]:
    """Yield ``changed`` whenever the list has changed.

    Also once at first, since the page may be out of date.
    """
    keep_alive, before = _KeepAlive(), None
    yield HELLO
    while not stopping.is_set():
        entries = await runs.entries()
        now = [(entry.run.key, entry.snapshot, entry.error) for entry in entries]
        if now != before:
            before = now
            yield keep_alive.sent(event("changed"))
        elif keep_alive.is_due():
            yield keep_alive.sent(": still here\n\n")
        busy = any(
            entry.snapshot is not None and entry.snapshot.status.running for entry in entries
        )
        await _pause(2 * BUSY_S if busy else IDLE_S, stopping)


class _Fields:
    """The fields of a feature (its module ``page_fields``), as one page has them."""

    def __init__(self, module: Any, directory: Path, known: Collection[str]) -> None:
        self._module = module
        self._directory = directory
        self._known = known
        self._read: tuple[Any, Any] | None = None

    def changed(self) -> Mapping[str, object] | None:
        """Return what the page doesn't have yet; None if it has all. Blocking.

        The first time it is all, unless the page has it: it may be older than this feed.
        """
        if self._read is not None and self._module.is_current(self._read[1]):
            return None
        before = self._read
        self._read = self._module.read(self._directory)
        fields = self._read[0]
        if before is None:
            return None if fields_digest(fields) in self._known else {"all": True, **fields}
        changes: Mapping[str, object] = self._module.changes(before[0], fields)
        return changes


class _KeepAlive:
    """The time since the last message, for keep-alives."""

    def __init__(self) -> None:
        self._sent_at = time.monotonic()

    def sent(self, text: str) -> str:
        self._sent_at = time.monotonic()
        return text

    def is_due(self) -> bool:
        return time.monotonic() - self._sent_at >= KEEP_ALIVE_S


async def _pause(seconds: float, stopping: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
