"""Channels: one request out, one answer back. What carries it, a library or a test's transport, is behind this."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final, Protocol

import httpx

from crucible_batch.gateway.address import shown
from crucible_batch.gateway.api_key import ApiKey
from crucible_batch.hidden import HiddenText

CHUNK_BYTES: Final = 256 * 1024
"""So much of a body comes at once: large enough that hashing and writing it is worth a hop to a thread."""


class Reply(Protocol):
    """An answer whose head has come. ``headers`` takes names in any case. Close it, whatever became of it."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    async def read(self, limit: int) -> bytes | None:
        """Return the whole body as it is on the wire; None where it is larger than ``limit``. Once, or ``chunks``."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body's bytes as they are on the wire, each time ``CHUNK_BYTES`` or somewhat more, the last time
        what is left. Once."""
        ...

    async def close(self) -> None:
        """Be done with the answer. A body that wasn't read to its end costs the connection. May be called twice."""
        ...

    async def drop(self) -> None:
        """Close the connection that the answer came on, also if it was read whole and the connection is idle."""
        ...


class Channel(Protocol):
    """Carries requests, any number at once. Follows nothing, keeps no cookies, undoes no encoding, asks the environment
    nothing. Sends each POST once: whether it took effect is for the caller to find out.
    """

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Reply:
        """Send, and return once the answer's head is there.

        Raises httpx's errors, whatever carries the request, and ``OSError``; so do the reply's methods. The only
        deadline is that of a long silence while a body comes. ``url`` is absolute and sent as it is.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections. May be called twice."""
        ...


class KeyChannel(Channel):
    """Adds the key to requests to the API's own origin, and lets no others through."""

    def __init__(self, inner: Channel, key: ApiKey, base: httpx.URL) -> None:
        self._inner = inner
        self._key = key
        self._start = f"{str(base.copy_with(path='/')).rstrip('/')}/"
        """What each URL starts with: with the slash, no longer host does."""

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Reply:
        """Send with the key. Raises ``RuntimeError``, a bug of ours, where it would go elsewhere."""
        if not url.startswith(self._start):
            raise RuntimeError(f"a request with the key was about to go to {shown(url)}")
        keyed = {**headers, "Authorization": HiddenText(f"Bearer {self._key.reveal()}")}
        return await self._inner.send(method, url, keyed, body)

    async def aclose(self) -> None:
        await self._inner.aclose()
