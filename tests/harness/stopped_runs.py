"""Runs that end in the middle: killed at their n-th effect, or stopped at an event."""

from __future__ import annotations

import asyncio
import itertools
import os
from pathlib import Path

import httpx
import pytest

import crucible_batch as api

STRIDE = 1 if os.environ.get("HYPOTHESIS_PROFILE") == "soak" else 5
THREE = "{name: a, prompt: one}\n{name: b, prompt: two}\n{name: c, prompt: three}"


class Killer:
    """Ends a run at its n-th effect, counted over requests (before and after each) and journalled
    events."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0
        self.task: asyncio.Task | None = None

    @property
    def has_struck(self) -> bool:
        return self.count > self.at

    def strike(self) -> None:
        self.count += 1
        if self.count == self.at + 1:
            self.task.cancel()

    def notify(self, _message: object) -> None:
        self.strike()

    async def tamper(self, _request: httpx.Request, send) -> httpx.Response:
        self.strike()
        await asyncio.sleep(0)
        answer = await send()
        self.strike()
        await asyncio.sleep(0)
        return answer

    async def run(self, bench, tampered, manifest: Path, **options) -> api.RunResult | None:
        options.update(transport=tampered(self.tamper), observer=self)
        self.task = asyncio.ensure_future(bench.run(manifest, **options))
        try:
            return await self.task
        except asyncio.CancelledError:
            return None


async def stop_after(bench, watcher, manifest, event: type, count: int = 1, **options) -> None:
    """Run until ``event`` has happened ``count`` times, and end there and then."""
    seen = itertools.count(1)

    def look(message: object) -> None:
        if isinstance(getattr(message, "event", None), event) and next(seen) == count:
            task.cancel()

    task = asyncio.ensure_future(bench.run(manifest, observer=watcher(look), **options))
    with pytest.raises(asyncio.CancelledError):
        await task


async def stop_at_answer(bench, tampered, manifest, path: str) -> None:
    """End a run, as a kill does, when the answer to the first POST to ``path`` is on its way."""

    async def lose(request: httpx.Request, send):
        answer = await send()
        if request.method == "POST" and request.url.path.endswith(path):
            await answer.aread()
            task.cancel()
            await asyncio.sleep(1)
        return answer

    task = asyncio.ensure_future(bench.run(manifest, transport=tampered(lose)))
    with pytest.raises(asyncio.CancelledError):
        await task
