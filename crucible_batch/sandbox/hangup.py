"""Answers that are none: connections closed before the first byte, or in the middle of a body.

ASGI has no way to say "hang up", so the server puts the connection's transport into the scope (see server.py). Where
there is no connection, since the application is called in process, ConnectionResetError is raised to the caller.
"""

from asyncio import Transport

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

TRANSPORT = "sandbox.transport"


class NoAnswer(Response):
    """Close the connection without a byte."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = _transport(scope)
        transport.abort()
        await _wait_for_the_end(receive)


class HalfAnswer(Response):
    """Announce all the bytes by a Content-Length, send half of them, and close the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = _transport(scope)
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": half, "more_body": True})
        transport.close()
        await _wait_for_the_end(receive)


class UnsizedHalfAnswer(Response):
    """Send half the bytes in a body that ends with the connection: nothing shows that it was cut.

    Written to the transport by hand, since uvicorn would frame it in chunks, and a cut chunk does show.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = _transport(scope)
        half = bytes(self.body[: len(self.body) // 2])
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {self.media_type}\r\nconnection: close\r\n\r\n"
        transport.write(head.encode("ascii") + half)
        transport.close()
        await _wait_for_the_end(receive)


def _transport(scope: Scope) -> Transport:
    transport = scope.get("state", {}).get(TRANSPORT)
    if not isinstance(transport, Transport):
        raise ConnectionResetError("the sandbox hung up")
    return transport


async def _wait_for_the_end(receive: Receive) -> None:
    """Return when the server has seen the connection end; it would complain about a missing answer before."""
    while (await receive())["type"] != "http.disconnect":
        pass
