"""Which transport carries the requests, how many at once, and the wrapper that adds the key."""

from __future__ import annotations

import http.cookiejar
from importlib import metadata
from typing import Final

import httpx

from crucible_batch.errors import UserError
from crucible_batch.gateway.address import origin, shown
from crucible_batch.gateway.api_key import ApiKey
from crucible_batch.gateway.guard import GuardedTransport, LinkGuard
from crucible_batch.gateway.quiet import quiet_loggers

MAX_CONNECTIONS: Final = 100
"""Requests at once, to the API and to storage each. httpx's pool looks at every connection for every request, so that
hundreds in flight are slower than these."""

_LIMITS: Final = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
USER_AGENT: Final = f"crucible-batch/{metadata.version('crucible-batch')}"


def new_transport(*, proxy: str | None = None, guard: LinkGuard | None = None) -> httpx.AsyncBaseTransport:
    """Make the transport to use where none is given. Nothing is read from the environment; certificates are checked.

    It connects where ``guard`` says; through a ``proxy``, which looks names up itself, it can't. Raises ``UserError``
    where ``proxy`` is none that can be used.
    """
    if guard is not None and proxy is None:
        return GuardedTransport(guard, _LIMITS)
    try:
        return httpx.AsyncHTTPTransport(trust_env=False, proxy=proxy, limits=_LIMITS, retries=0)
    except (httpx.InvalidURL, ValueError, ImportError):  # the last for socks5, which httpx needs another package for
        if proxy is None:
            raise
        # What httpx says of it may quote a password.
        raise UserError(f"not a proxy: {shown(proxy)}", hint="give one like http://proxy.example:3128") from None


def new_client(transport: httpx.AsyncBaseTransport, *, headers: dict[str, str], timeout_s: float) -> httpx.AsyncClient:
    """Make an httpx client that follows nothing, remembers nothing and asks the environment nothing.

    ``timeout_s`` is httpx's, of each wait for the next byte: it ends silence early. A peer that drips is ended by the
    deadline that each exchange has besides. Identity is asked for since a cut gzip body looks whole to httpx.
    """
    quiet_loggers()
    no_cookies = http.cookiejar.CookieJar(policy=http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    return httpx.AsyncClient(
        transport=transport,
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers},
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


def is_encoded(headers: httpx.Headers) -> bool:
    """Whether an answer came encoded although identity was asked for; such answers are refused."""
    return any(word.strip().lower() not in ("", "identity") for word in headers.get("content-encoding", "").split(","))
