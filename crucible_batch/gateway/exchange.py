"""One exchange with the API: a request and its whole response, within one deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, TypeVar

from crucible_batch.errors import GatewayError
from crucible_batch.gateway.api_key import ApiKey
from crucible_batch.gateway.json_text import ANSWER_LIMIT, UnreadableError
from crucible_batch.gateway.response_errors import HttpAnswer, bad_answer, refusal, request_id, transport_seam
from crucible_batch.gateway.retries import Operation
from crucible_batch.gateway.transport import MAX_CONNECTIONS, Channel, is_encoded
from crucible_batch.gateway.wire import read_failure

_HEADERS: Final = {"Accept": "application/json"}
_HEADERS_OF_JSON: Final = {**_HEADERS, "Content-Type": "application/json"}
_READ: Final = ("x-request-id", "retry-after", "date")
"""The response headers that are used; the others are dropped."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and the function that reads its response.

    ``body`` is encoded once, so that each attempt sends the same bytes. ``read`` is called with any 2xx response and
    raises ``UnreadableError`` if it is not the expected one. ``url`` is absolute.
    """

    operation: Operation
    method: str
    url: str
    read: Callable[[HttpAnswer], T]
    body: bytes | None = field(default=None, repr=False)


class ApiExchange:
    """Performs calls, one attempt each. Raises only ``GatewayError``, apart from cancellation.

    The ``key`` is masked in every response before it is parsed, cleaned or truncated.
    """

    def __init__(
        self, channel: Channel, key: ApiKey, *, timeout_s: float, retry_after_cap_s: float, now: Callable[[], datetime]
    ) -> None:
        self._channel = channel
        self._key = key
        self._timeout_s = timeout_s
        self._retry_after_cap_s = retry_after_cap_s
        self._now = now
        # The wait for a free slot isn't part of the deadline: a POST that was never sent must not end in doubt.
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)

    async def perform(self, call: Call[T]) -> T:
        """Send the request and return what ``call.read`` makes of the response."""
        async with self._slots:
            answer = await self._fetch(call)
        if not 200 <= answer.status < 300:
            raise self._refusal(call, answer)
        try:
            return call.read(answer)
        except UnreadableError as error:
            await answer.drop()
            if read_failure(answer.body) is not None:  # success: false, with a 2xx
                raise self._refusal(call, answer) from None
            raise bad_answer(
                call.operation, answer.status, str(error), code=error.code, request_id=request_id(answer)
            ) from error

    async def _fetch(self, call: Call[T]) -> HttpAnswer:
        headers = _HEADERS if call.body is None else _HEADERS_OF_JSON
        with transport_seam(call.operation, self._key.mask_in):
            async with asyncio.timeout(self._timeout_s):
                reply = await self._channel.send(call.method, call.url, headers, call.body)
                try:
                    # Closes the connection if the body wasn't read to its end.
                    body = None if is_encoded(reply.headers) else await reply.read(ANSWER_LIMIT)
                finally:
                    await reply.close()
        if body is None and 200 <= reply.status < 300:
            raise bad_answer(call.operation, reply.status, "too large, or encoded though identity was asked for")
        headers = {name: self._key.mask_in(reply.headers[name]) for name in _READ if name in reply.headers}
        return HttpAnswer(reply.status, headers, self._key.hidden_in_bytes(body or b""), reply.drop)

    def _refusal(self, call: Call[T], answer: HttpAnswer) -> GatewayError:
        return refusal(call.operation, answer, now=self._now(), cap_s=self._retry_after_cap_s)
