"""The channel over an httpx transport: the one that a caller brings, a test's or an application's own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

import httpx

from crucible_batch.gateway.transport import CHUNK_BYTES, Channel, Reply


class HttpxReply(Reply):
    """An answer that httpx reads.

    ``aiter_bytes`` would undo an encoding, but encoded answers are refused unread; ``aiter_raw`` doesn't serve test
    transports, whose answers are read already.
    """

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    async def read(self, limit: int) -> bytes | None:
        body = bytearray()
        async for chunk in self._response.aiter_bytes():
            body += chunk
            if len(body) > limit:
                return None
        return bytes(body)

    def chunks(self) -> AsyncIterator[bytes]:
        return self._response.aiter_bytes(CHUNK_BYTES)

    async def close(self) -> None:
        await self._response.aclose()

    async def drop(self) -> None:
        """Close what httpx calls the ``network_stream``, where the transport shows it."""
        close = getattr(self._response.extensions.get("network_stream"), "aclose", None)
        if close is not None:
            with contextlib.suppress(OSError):
                await close()


class HttpxChannel(Channel):
    """Carries requests by an httpx client. The client is closed with it, and so is its transport."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Reply:
        request = self._client.build_request(method, url, content=body, headers=dict(headers))
        return HttpxReply(await self._client.send(request, stream=True))

    async def aclose(self) -> None:
        await self._client.aclose()
