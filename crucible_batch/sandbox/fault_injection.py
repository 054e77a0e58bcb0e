"""Applies faults to each request: none, before its effect, or after it."""

import asyncio
import contextlib
import logging
from asyncio import Transport
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from crucible_batch.sandbox.faults import Stage
from crucible_batch.sandbox.gateway import Gateway
from crucible_batch.sandbox.records import RefusedError

TRANSPORT = "sandbox.transport"


class NoAnswer(Response):
    """Close the connection without a byte."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = _transport(scope)
        transport.abort()
        await _wait_for_the_end(receive)


class HalfAnswer(Response):
    """Send half the bytes and close the connection.

    Without the Content-Length of all, nothing shows the cut. Written to the transport by hand,
    since uvicorn would frame an answer without a length in chunks, which shows it.
    """

    def __init__(self, content: bytes, media_type: str, *, is_sized: bool) -> None:
        super().__init__(content, media_type=media_type)
        self._is_sized = is_sized

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = _transport(scope)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {self.media_type}\r\n"
        if self._is_sized:
            head += f"content-length: {len(self.body)}\r\n"
        head += "connection: close\r\n\r\n"
        transport.write(head.encode("ascii") + bytes(self.body[: len(self.body) // 2]))
        transport.close()
        await _wait_for_the_end(receive)


def _transport(scope: Scope) -> Transport:
    transport = scope.get("state", {}).get(TRANSPORT)
    if not isinstance(transport, Transport):
        raise ConnectionResetError("the sandbox hung up")
    return transport


async def _wait_for_the_end(receive: Receive) -> None:
    """Wait until the server has seen the connection end.

    Before that, it would complain about a missing answer.
    """
    while (await receive())["type"] != "http.disconnect":
        pass


_log = logging.getLogger(__name__)

_HTML = (
    "<!doctype html><title>Just a moment</title>"
    "<h1>Just a moment</h1><p>Checking your connection.</p>"
)
_INTERNAL_ERROR = RefusedError(
    500, "INTERNAL_ERROR", "Something went wrong inside the gateway.", "Try again."
)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, its body read."""

    operation: str
    request: Request
    body: bytes
    request_id: str
    now: float


Handler = Callable[[Call], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]
RenderRefusal = Callable[[RefusedError, str], Response]


@dataclass(frozen=True, slots=True)
class FaultyEndpoint:
    """A handler whose requests are counted, and on which faults strike.

    What it changes is stored before the answer.
    """

    gateway: Gateway
    operation: str
    handler: Handler
    render_refusal: RenderRefusal
    max_body_bytes: int

    async def answer(self, request: Request) -> Response:
        seen, request_id = self.gateway.seen, self.gateway.request_ids.next()
        seen.requests[self.operation] += 1
        try:
            body = await self._read(request)
        except ClientDisconnect:
            return NoAnswer()
        except RefusedError as refused:
            return self.render_refusal(refused, request_id)
        fault = self.gateway.faults.draw(self.operation, Stage.EXCHANGE)
        call = Call(self.operation, request, body, request_id, self.gateway.now())
        response = self._before(fault, call)
        if response is None:
            response = await self._after(fault, await self._perform(call), call)
        status = response.status_code
        if isinstance(response, NoAnswer):
            status = 0
        seen.answers[self.operation, status] += 1
        return response

    async def _read(self, request: Request) -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.max_body_bytes:
                raise RefusedError(
                    400, "BODY_TOO_LARGE", f"The body is longer than {self.max_body_bytes} bytes."
                )
        return bytes(body)

    async def _perform(self, call: Call) -> Response:
        try:
            response = await self.handler(call)
        except RefusedError as refused:
            response = self.render_refusal(refused, call.request_id)
        except Exception:  # noqa: BLE001 - the edge: a bug is answered and logged
            _log.exception("%s failed", call.operation)
            response = self.render_refusal(_INTERNAL_ERROR, call.request_id)
        self.gateway.commit()
        return response

    def _before(self, fault: str | None, call: Call) -> Response | None:
        """Return the answer of a fault that strikes before the effect."""
        wait_s = self.gateway.config.retry_after_s
        match fault:
            case "429":
                return self._busy(429, "RATE_LIMITED", str(wait_s), call)
            case "429-date":
                date = formatdate(call.now + wait_s, usegmt=True)
                return self._busy(429, "RATE_LIMITED", date, call)
            case "503-before":
                return self._busy(503, "SERVICE_UNAVAILABLE", str(wait_s), call)
            case "500-before":
                return self.render_refusal(_INTERNAL_ERROR, call.request_id)
            case "drop-before":
                return NoAnswer()
            case _:
                return None

    def _busy(self, status: int, code: str, retry_after: str, call: Call) -> Response:
        hint = "Wait for the time in Retry-After."
        refused = RefusedError(status, code, "The gateway is busy.", hint)
        response = self.render_refusal(refused, call.request_id)
        response.headers["retry-after"] = retry_after
        return response

    async def _after(self, fault: str | None, response: Response, call: Call) -> Response:
        """Return what is left of an answer under a fault that strikes after the effect."""
        match fault:
            case "500-after":
                return self.render_refusal(_INTERNAL_ERROR, call.request_id)
            case "drop-after":
                return NoAnswer()
            case "html":
                return Response(_HTML, media_type="text/html")
            case "empty":
                return Response(b"")
            case "slow":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.gateway.config.slow_answer_s):
                        await self.gateway.stopping.wait()
                return response
            case _:
                return response
