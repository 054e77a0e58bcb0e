"""What holds for every answer: who may ask, with which methods, and what a browser may do with it."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost")
"""A page from elsewhere whose name was made to lead here (DNS rebinding) still sends its own name. The port may be any:
behind an SSH tunnel it is another."""
_METHODS = {"GET", "HEAD"}
_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    # No page from elsewhere may show a picture of ours, or keep a handle on our window.
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


def guards() -> list[Middleware]:
    """Return them in the order in which a request meets them."""
    return [
        Middleware(_Headers),
        Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False),
        Middleware(_ReadOnly),
    ]


class _Headers:
    """Adds the headers that an answer doesn't set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded)


class _ReadOnly:
    """Refuses whatever could be meant to change something."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _METHODS:
            refused = PlainTextResponse("This page only shows.\n", 405, headers={"allow": "GET, HEAD"})
            await refused(scope, receive, send)
        else:
            await self._app(scope, receive, send)
