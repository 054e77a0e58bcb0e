"""The storage client: uploads and downloads at signed URLs, without the API key."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from crucible_batch.errors import GatewayError
from crucible_batch.gateway.response_errors import (
    TransportErrors,
    bad_answer,
    bad_request,
    no_answer,
    retry_after_s,
)
from crucible_batch.gateway.retries import Operation, Retrier, decide_retry
from crucible_batch.gateway.transport import (
    MAX_CONNECTIONS,
    Channel,
    HttpxChannel,
    Reply,
    is_encoded,
    new_client,
)
from crucible_batch.gateway.url_guard import LinkGuard, shown, unsafe

REDIRECT_LIMIT = 3
SLOWEST_BYTES_PER_S = 32 * 1024
"""A slower transfer times out: 1 MB may take 32 s in addition to ``timeout_s``."""
UNDECLARED_SIZE = 64 * 1024 * 1024
"""The size, in bytes, assumed for the deadline of a download without a ``Content-Length``."""

_LENGTH = re.compile(r"[0-9]{1,15}")
_FOLLOWED = {Operation.DOWNLOAD: {301, 302, 303, 307, 308}, Operation.UPLOAD: {307, 308}}
"""The redirect statuses that are followed. For an upload, the others would turn the PUT into a
GET."""


@dataclass(frozen=True, slots=True)
class _Upload:
    content: bytes
    mime_type: str


class StorageClient:
    """A client for signed storage URLs.

    Sends no API key, keeps no cookies, and shows URLs without their queries. ``timeout_s`` limits
    each wait for the next byte, and the wait for the response's headers; the entire transfer has a
    deadline that grows with its size. ``trusted_hosts`` may have addresses that aren't public.
    ``hide`` masks the API key in a text, since the storage may have received it from the gateway.
    """

    def __init__(
        self,
        api_base: httpx.URL,
        retrier: Retrier,
        *,
        transport: httpx.AsyncBaseTransport | None,
        proxy: str | None = None,
        timeout_s: float = 30.0,
        trusted_hosts: Iterable[str] = (),
        hide: Callable[[str], str] = str,
    ) -> None:
        self._hide = hide
        self._guard = LinkGuard(api_base, trusted_hosts)
        self._retrier = retrier
        self._timeout_s = timeout_s
        self._channel: Channel
        if transport is None:
            # aiohttp takes 50 ms, and commands on run directories send no request.
            from crucible_batch.gateway.aiohttp_transport import new_channel  # noqa: PLC0415

            self._channel = new_channel(proxy=proxy, guard=self._guard, silence_s=timeout_s)
        else:
            self._channel = HttpxChannel(new_client(transport, timeout_s=timeout_s))
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)

    async def aclose(self) -> None:
        """Close the connections. May be called twice."""
        await self._channel.aclose()

    async def put(self, url: str, content: bytes, mime_type: str) -> None:
        """Upload ``content`` with its length and ``mime_type``, with retries by the policy."""
        if not content:
            raise bad_request(Operation.UPLOAD, "an empty upload")
        upload = _Upload(content, mime_type)

        async def attempt() -> None:
            async with self._connections:
                with TransportErrors(Operation.UPLOAD, self._hide):
                    async with asyncio.timeout(self._deadline_s(len(content))):
                        reply = await self._follow(Operation.UPLOAD, url, upload)
                        await reply.close()

        await self._retrier.run(attempt, url=url)

    @asynccontextmanager
    async def get(self, url: str) -> AsyncIterator[tuple[int | None, AsyncIterator[bytes]]]:
        """Open a download, and return its declared length in bytes, if there is one, with its body.

        Opening is retried by the policy; errors while reading are raised to the caller.
        """

        async def attempt() -> Reply:
            with TransportErrors(Operation.DOWNLOAD, self._hide):
                async with asyncio.timeout(self._timeout_s):
                    return await self._follow(Operation.DOWNLOAD, url, None)

        async with self._connections:
            reply = await self._retrier.run(attempt, url=url)
            try:
                length = _declared_length(reply.headers)
                async with aclosing(self._read(reply, length)) as chunks:
                    yield length, chunks
            finally:
                with TransportErrors(Operation.DOWNLOAD, self._hide):
                    await reply.close()

    async def _follow(self, operation: Operation, url: str, upload: _Upload | None) -> Reply:
        """Send, and follow at most ``REDIRECT_LIMIT`` redirects, each checked.

        Return the open, successful response.
        """
        reply = await self._send(url, upload)
        for _ in range(REDIRECT_LIMIT):
            location = reply.headers.get("location")
            if location is None or reply.status not in _FOLLOWED[operation]:
                break
            await reply.close()
            if self._hide(location) != location:
                raise unsafe("a redirect of the storage's holds the API key")
            with TransportErrors(operation, self._hide):  # an invalid Location raises InvalidURL
                url = str(httpx.URL(url).join(location))
            reply = await self._send(url, upload)
        problem = self._problem(operation, url, reply)
        if problem is not None:
            await reply.close()
            raise problem
        return reply

    async def _send(self, url: str, upload: _Upload | None) -> Reply:
        sendable = self._guard.check(url)
        if upload is None:
            return await self._channel.send("GET", sendable, {})
        return await self._channel.send(
            "PUT", sendable, {"Content-Type": upload.mime_type}, upload.content
        )

    def _problem(self, operation: Operation, url: str, reply: Reply) -> GatewayError | None:
        """Return the error for a response by its status and headers; None if it is usable."""
        status = reply.status
        if operation is Operation.UPLOAD and 200 <= status < 300:
            return None
        if operation is Operation.DOWNLOAD and status == 200:
            if not is_encoded(reply.headers):
                return None
            why = "encoded although the identity encoding was requested"
            return bad_answer(operation, status, why)
        return GatewayError(
            f"{shown(url)} answered {status}",
            code=f"HTTP_{status}",
            operation=operation,
            status=status,
            hint="signed URLs expire; run the same command again for a fresh one",
            in_doubt=decide_retry(operation, status).in_doubt,
            retry_after_s=retry_after_s(
                reply.headers.get,
                now=datetime.now(UTC),
                cap_s=self._retrier.policy.retry_after_cap_s,
            ),
        )

    async def _read(self, reply: Reply, length: int | None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes as they arrive.

        The deadline counts only the time waiting for them, not the caller's.
        """
        loop = asyncio.get_running_loop()
        expected_size = UNDECLARED_SIZE if length is None else length
        left_s = self._deadline_s(expected_size)
        chunks = reply.chunks()
        read = 0
        while True:
            began = loop.time()
            with TransportErrors(Operation.DOWNLOAD, self._hide):
                async with asyncio.timeout(left_s):
                    chunk = await anext(chunks, None)
            left_s -= loop.time() - began
            if chunk is None:
                break
            read += len(chunk)
            yield chunk
        if length is not None and read != length:
            raise no_answer(
                Operation.DOWNLOAD, f"{read} of {length} bytes were received", status=reply.status
            )

    def _deadline_s(self, byte_size: int) -> float:
        return self._timeout_s + byte_size / SLOWEST_BYTES_PER_S


def _declared_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length", "")
    if "transfer-encoding" in headers or not _LENGTH.fullmatch(text):
        return None
    return int(text)
