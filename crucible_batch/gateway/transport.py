"""What every request says, how many there are at once, and the wrapper of a given transport that adds the key."""

from __future__ import annotations

import http.cookiejar
from collections.abc import Mapping
from importlib import metadata
from typing import Final

import httpx

from crucible_batch.gateway.address import origin, shown
from crucible_batch.gateway.api_key import ApiKey
from crucible_batch.gateway.quiet import quiet_loggers

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
