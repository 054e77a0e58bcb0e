"""Channels: what carries requests and answers, the wrappers that add the key, and the channel over httpx."""

from __future__ import annotations

import contextlib
import http.cookiejar
from collections.abc import AsyncIterator, Mapping
from importlib import metadata
from typing import Final, Protocol

import httpx

from crucible_batch.gateway.api_key import ApiKey
from crucible_batch.gateway.log_filter import quiet_loggers
from crucible_batch.gateway.url_guard import origin, shown
from crucible_batch.secret_text import HiddenText

MAX_CONNECTIONS: Final = 256
"""Requests at once, to the API and to storage each. Twice these are still half of the descriptors that a process may
have by default on Linux, 1,024."""

USER_AGENT: Final = f"crucible-batch/{metadata.version('crucible-batch')}"


def new_client(transport: httpx.AsyncBaseTransport, *, timeout_s: float) -> httpx.AsyncClient:
    """Make an httpx client that follows nothing, remembers nothing and asks the environment nothing.

    ``timeout_s`` is httpx's, of each wait for the next byte: it ends silence early. A peer that drips is ended by the
    deadline that each exchange has besides. Identity is asked for since a cut gzip body looks whole to httpx.
    """
    quiet_loggers()
    no_cookies = http.cookiejar.CookieJar(policy=http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    return httpx.AsyncClient(
        transport=transport,
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        cookies=no_cookies,
        follow_redirects=False,
        trust_env=False,
        timeout=httpx.Timeout(timeout_s, pool=None),
    )


class KeyTransport(httpx.AsyncBaseTransport):
    """Adds the key, in this place only, to requests to the API's own origin, and lets no others through.

    The key goes on a copy: the request that responses and exceptions refer to never holds it.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, key: ApiKey, base: httpx.URL) -> None:
        self._inner = inner
        self._key = key
        self._origin = origin(base)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request with the key. Raises ``RuntimeError``, a bug of ours, where it goes elsewhere."""
        if origin(request.url) != self._origin:
            raise RuntimeError(f"a request with the key was about to go to {shown(request.url)}")
        keyed = httpx.Request(
            request.method,
            request.url,
            headers=[*request.headers.raw, (b"Authorization", b"Bearer " + self._key.reveal().encode("ascii"))],
            stream=request.stream,
            extensions=request.extensions,
        )
        return await self._inner.handle_async_request(keyed)

    async def aclose(self) -> None:
        await self._inner.aclose()


def is_encoded(headers: Mapping[str, str]) -> bool:
    """Whether an answer came encoded although identity was asked for; such answers are refused."""
    return any(word.strip().lower() not in ("", "identity") for word in headers.get("content-encoding", "").split(","))


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


class HttpxReply(Reply):
    """An answer read by httpx, from a transport that the caller brings: a test's or an application's own.

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
