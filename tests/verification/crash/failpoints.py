"""Failpoints: every effect of a run is counted as it happens, and a signal strikes at the chosen
ones.

    request     before its first byte leaves
    answer      after its last byte, before anybody has it
    commit      before and after each commit of a database
    link        before and after an output gets its name
    replace     before and after the report gets its name
    fsync       before each

Nothing of this is in the product: the channel is wrapped, and ``os`` and ``sqlite3`` are patched in
this process.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from crucible_batch.gateway import aiohttp_transport
from crucible_batch.gateway.transport import Channel, Reply

Reach = Callable[[str], None]

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}[^/]*")


@dataclass(frozen=True)
class Strike:
    """A signal at the ``nth`` effect with this label; without one, at the ``nth`` of all.
    ``again_after`` so many more effects it comes once more."""

    signal: int
    nth: int
    label: str = ""
    again_after: int = 0


class Failpoints:
    """Writes each effect of this process to ``trace`` as it happens; with a ``!`` before it, where
    it was struck."""

    def __init__(self, strike: Strike | None, trace: Path) -> None:
        self._strike = strike
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._seen: Counter[str] = Counter()
        self._again_in = 0
        self._lock = threading.Lock()

    def reach(self, label: str) -> None:
        with self._lock:
            strike = self._due(label)
            os.write(self._trace, f"{'!' if strike else ''}{label}\n".encode())
        if strike is not None:
            os.kill(os.getpid(), strike.signal)

    def _due(self, label: str) -> Strike | None:
        if self._strike is None:
            return None
        self._seen.update({label, ""})
        self._again_in -= 1
        if self._strike.label in {label, ""} and self._seen[self._strike.label] == self._strike.nth:
            self._again_in = self._strike.again_after
            return self._strike
        return self._strike if self._again_in == 0 and self._strike.again_after else None

    def install(self) -> None:
        """Patch this process, for good."""
        aiohttp_transport.new_channel = self._watched(aiohttp_transport.new_channel)
        os.link = _around(os.link, "link", self.reach)
        os.replace = _around(os.replace, "replace", self.reach)
        os.fsync = _before(os.fsync, "fsync", self.reach)
        sqlite3.connect = _connecting(sqlite3.connect, self.reach)

    def _watched(self, new_channel: Callable[..., Channel]) -> Callable[..., Any]:
        return lambda **options: _Channel(new_channel(**options), self.reach)


class _Channel(Channel):
    def __init__(self, inner: Channel, reach: Reach) -> None:
        self._inner = inner
        self._reach = reach

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Reply:
        what = f"{method} {_ID.sub('*', httpx.URL(url).path)}"
        self._reach(f"request {what}")
        return _Reply(
            await self._inner.send(method, url, headers, body),
            lambda: self._reach(f"answer {what}"),
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Reply(Reply):
    """An answer; ``ended`` is called once, after the last of its bytes or where its reader wants no
    more."""

    def __init__(self, inner: Reply, ended: Callable[[], None]) -> None:
        self._inner = inner
        self._ended: Callable[[], None] | None = ended

    @property
    def status(self) -> int:
        return self._inner.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._inner.headers

    def _end(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()

    async def read(self, limit: int) -> bytes | None:
        body = await self._inner.read(limit)
        self._end()
        return body

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        async for chunk in self._inner.chunks():
            yield chunk
        self._end()

    async def close(self) -> None:
        self._end()
        await self._inner.close()

    async def drop(self) -> None:
        await self._inner.drop()


def _before(function: Callable[..., Any], label: str, reach: Reach) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        reach(label)
        return function(*args, **options)

    return call


def _around(function: Callable[..., Any], label: str, reach: Reach) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        reach(f"{label} before")
        found = function(*args, **options)
        reach(f"{label} after")
        return found

    return call


def _connecting(
    connect: Callable[..., sqlite3.Connection], reach: Reach
) -> Callable[..., sqlite3.Connection]:
    class Watched(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:  # type: ignore[override]
            if sql != "COMMIT":
                return super().execute(sql, *values)
            reach("commit before")
            cursor = super().execute(sql)
            reach("commit after")
            return cursor

    return lambda *args, **options: connect(*args, factory=Watched, **options)
