"""Channels, which send requests: the interface, the wrappers that add the API key, and httpx's."""

from __future__ import annotations

import contextlib
import http.cookiejar
from collections.abc import AsyncIterator, Mapping
from importlib import metadata
from typing import Protocol

import httpx

from crucible_batch.gateway.api_key import ApiKey
from crucible_batch.gateway.log_filter import quiet_loggers
from crucible_batch.gateway.url_guard import origin, shown
from crucible_batch.secret_text import HiddenText

MAX_CONNECTIONS = 256
"""The limit of concurrent requests, for the API and for storage each. Together they use half of
the 1,024 file descriptors that a process may have by default on Linux."""

USER_AGENT = f"crucible-batch/{metadata.version('crucible-batch')}"


def new_client(transport: httpx.AsyncBaseTransport, *, timeout_s: float) -> httpx.AsyncClient:
    """Return an httpx client without redirects, cookies or settings from the environment.

    ``timeout_s`` limits each wait for the next byte. A peer that sends slowly is stopped by the
    separate deadline of each exchange. The client requests the identity encoding, because httpx
    doesn't detect a truncated gzip body.
    """
    quiet_loggers()
    no_cookies = http.cookiejar.CookieJar(
        policy=http.cookiejar.DefaultCookiePolicy(allowed_domains=[])
    )
    return httpx.AsyncClient(
        transport=transport,
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        cookies=no_cookies,
        follow_redirects=False,
        trust_env=False,
        timeout=httpx.Timeout(timeout_s, pool=None),
    )


class InvalidCertificateError(httpx.ConnectError):
    """A connection to a server whose certificate isn't valid. Waiting doesn't change that."""


class KeyTransport(httpx.AsyncBaseTransport):
    """A transport that adds the API key to requests to the API's origin and rejects all others.

    The key is added to a copy, so the request that responses and exceptions refer to never holds
    it.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, key: ApiKey, base: httpx.URL) -> None:
        self._inner = inner
        self._key = key
        self._origin = origin(base)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request with the key.

        Raises ``RuntimeError`` if it is for another origin, which is a bug here.
        """
        if origin(request.url) != self._origin:
            raise RuntimeError(f"a request with the key was about to go to {shown(request.url)}")
        keyed = httpx.Request(
            request.method,
            request.url,
            headers=[
                *request.headers.raw,
                (b"Authorization", b"Bearer " + self._key.reveal().encode("ascii")),
            ],
            stream=request.stream,
            extensions=request.extensions,
        )
        return await self._inner.handle_async_request(keyed)

    async def aclose(self) -> None:
        await self._inner.aclose()


def is_encoded(headers: Mapping[str, str]) -> bool:
    """Whether a response is encoded although identity was requested.

    Such responses are rejected.
    """
    return any(
        word.strip().lower() not in ("", "identity")
        for word in headers.get("content-encoding", "").split(",")
    )


CHUNK_BYTES = 256 * 1024
"""The size of a body's chunks: large enough that hashing and writing one is worth the switch to
a thread."""


class Reply(Protocol):
    """A response whose headers were received.

    ``headers`` accepts names in any case. It must always be closed.
    """

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    async def read(self, limit: int) -> bytes | None:
        """Return the complete body, not decoded; None if it is larger than ``limit`` bytes.

        Call only once, and not together with ``chunks``.
        """
        body = bytearray()
        async for chunk in self.chunks():
            body += chunk
            if len(body) > limit:
                return None
        return bytes(body)

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body, not decoded, in chunks of at least ``CHUNK_BYTES``.

        The last one may be smaller. Call only once.
        """

    async def close(self) -> None:
        """Release the response; closes the connection if the body wasn't read to its end.

        May be called twice.
        """

    async def drop(self) -> None:
        """Close the response's connection, even if it is idle because all was read."""


class Channel(Protocol):
    """The interface that sends requests, any number at the same time.

    A channel follows no redirects, keeps no cookies, decodes no bodies and takes no settings from
    the environment. It sends each POST only once; if that fails, the caller must find out whether
    it took effect.
    """

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Reply:
        """Send a request, and return when the response's headers were received.

        Raises httpx's errors, whichever library sends the request, and ``OSError``; so do the
        reply's methods. The only timeout is for a long silence while a body is received. ``url`` is
        absolute and sent unchanged.
        """

    async def aclose(self) -> None:
        """Close the connections. May be called twice."""


class KeyChannel(Channel):
    """A channel that adds the API key to requests to the API's origin and rejects all others."""

    def __init__(self, inner: Channel, key: ApiKey, base: httpx.URL) -> None:
        self._inner = inner
        self._key = key
        self._start = f"{str(base.copy_with(path='/')).rstrip('/')}/"
        """The prefix of each URL. It ends in a slash, so that a longer host name doesn't match."""

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Reply:
        """Send with the key.

        Raises ``RuntimeError`` if the URL is of another origin, which is a bug here.
        """
        if not url.startswith(self._start):
            raise RuntimeError(f"a request with the key was about to go to {shown(url)}")
        keyed = {**headers, "Authorization": HiddenText(f"Bearer {self._key.reveal()}")}
        return await self._inner.send(method, url, keyed, body)

    async def aclose(self) -> None:
        await self._inner.aclose()


class HttpxReply(Reply):
    """A response read by httpx, from a transport that the caller passed in, such as one of a test.

    ``aiter_bytes`` would decode the body, but encoded responses are rejected before they are read.
    ``aiter_raw`` fails with test transports, whose responses are already read.
    """

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    def chunks(self) -> AsyncIterator[bytes]:
        return self._response.aiter_bytes(CHUNK_BYTES)

    async def close(self) -> None:
        await self._response.aclose()

    async def drop(self) -> None:
        """Close httpx's ``network_stream``, if the transport has one."""
        close = getattr(self._response.extensions.get("network_stream"), "aclose", None)
        if close is not None:
            with contextlib.suppress(OSError):
                await close()


class HttpxChannel(Channel):
    """A channel over an httpx client. Closing it closes the client and the client's transport."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Reply:
        request = self._client.build_request(method, url, content=body, headers=dict(headers))
        return HttpxReply(await self._client.send(request, stream=True))

    async def aclose(self) -> None:
        await self._client.aclose()
