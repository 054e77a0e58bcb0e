"""One exchange with the API: a request and its complete response, within one deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from crucible_batch.core.ports import BeforeSend
from crucible_batch.errors import GatewayError
from crucible_batch.gateway.api_key import ApiKey
from crucible_batch.gateway.json_text import ANSWER_LIMIT, LIST_LIMIT, UnreadableError
from crucible_batch.gateway.response_errors import (
    HttpAnswer,
    TransportErrors,
    bad_answer,
    foreign_answer,
    refusal,
    request_id,
)
from crucible_batch.gateway.retries import Operation
from crucible_batch.gateway.transport import MAX_CONNECTIONS, Channel, is_encoded
from crucible_batch.gateway.wire import read_failure

_HEADERS = {"Accept": "application/json"}
_HEADERS_OF_JSON = {**_HEADERS, "Content-Type": "application/json"}
T = TypeVar("T")


class ApiExchange:
    """Performs requests, one attempt each.

    Raises only ``GatewayError``, apart from what a caller's function raises. The ``key`` is masked
    in every response before it is parsed, cleaned or truncated.
    """

    def __init__(
        self,
        channel: Channel,
        key: ApiKey,
        *,
        timeout_s: float,
        retry_after_cap_s: float,
        now: Callable[[], datetime],
    ) -> None:
        self._channel = channel
        self._key = key
        self._timeout_s = timeout_s
        self._retry_after_cap_s = retry_after_cap_s
        self._now = now
        # The wait for a free connection isn't part of the deadline: a POST that was never sent must
        # not end in doubt.
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)
        self._is_known = False
        """Whether a gateway has answered with success: a web page after that comes from
        something in front of it."""

    async def perform(
        self,
        operation: Operation,
        method: str,
        url: str,
        read: Callable[[HttpAnswer], T],
        body: bytes | None,
        *,
        before_send: BeforeSend | None = None,
    ) -> T:
        """Send a request to the absolute ``url`` and return what ``read`` makes of the response.

        ``read`` is called with any 2xx response and raises ``UnreadableError`` if it is not the
        expected one.
        """
        async with self._connections:
            if before_send is not None:
                before_send()  # after the wait for a connection, which may be long
            answer = await self._fetch(operation, method, url, body)
        if not 200 <= answer.status < 300:
            raise self._refusal(operation, url, answer)
        try:
            found = read(answer)
        except UnreadableError as error:
            await answer.drop()
            if read_failure(answer.body) is not None:  # success: false, with a 2xx
                raise self._refusal(operation, url, answer) from None
            foreign = foreign_answer(operation, url, answer)
            if foreign is not None and not self._is_known:
                raise foreign from error
            raise bad_answer(
                operation,
                answer.status,
                str(error),
                code=error.code,
                request_id=request_id(answer),
            ) from error
        self._is_known = True
        return found

    async def _fetch(
        self, operation: Operation, method: str, url: str, body: bytes | None
    ) -> HttpAnswer:
        headers = _HEADERS if body is None else _HEADERS_OF_JSON
        limit = ANSWER_LIMIT
        if operation is Operation.ASSETS:
            limit = LIST_LIMIT
        with TransportErrors(operation, self._key.mask_in):
            async with asyncio.timeout(self._timeout_s):
                reply = await self._channel.send(method, url, headers, body)
                try:
                    content = None
                    if not is_encoded(reply.headers):
                        content = await reply.read(limit)
                finally:
                    # Closes the connection if the body wasn't read to its end.
                    await reply.close()
        if content is None and 200 <= reply.status < 300:
            raise bad_answer(
                operation,
                reply.status,
                "too large, or encoded although the identity encoding was requested",
            )

        def header(name: str) -> str | None:
            # Only errors use headers, so the key is searched for in them only then.
            value = reply.headers.get(name)
            if value is None:
                return None
            return self._key.mask_in(value)

        body_without_key = self._key.hidden_in_bytes(content or b"")
        return HttpAnswer(reply.status, header, body_without_key, reply.drop)

    def _refusal(self, operation: Operation, url: str, answer: HttpAnswer) -> GatewayError:
        now, cap_s = self._now(), self._retry_after_cap_s
        return refusal(operation, url, answer, now=now, cap_s=cap_s, is_known=self._is_known)
