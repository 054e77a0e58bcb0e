"""Conversion of failed exchanges to ``GatewayError``."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType

import httpx

from crucible_batch.core.redaction import CODE_LIMIT, clean_message
from crucible_batch.core.retry_rule import KEY_REUSED, is_access_denied
from crucible_batch.errors import GatewayError, KeyRefusedError, NotAGatewayError
from crucible_batch.gateway.json_text import UnreadableError, read_json
from crucible_batch.gateway.retries import Operation, decide_retry
from crucible_batch.gateway.url_guard import HINT_NOT_A_GATEWAY, shown
from crucible_batch.gateway.wire import ApiFailure, read_failure

# ASCII only: int() accepts the digits of any script, signs and blanks
_SECONDS = re.compile(r"[0-9]{1,4000}")
_DATE = re.compile(  # the only form that may be sent; obsolete forms lack the zone or the century
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} "
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [1-9][0-9]{3} "
    r"[0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
)


def parse_retry_after(
    value: str | None, *, date: str | None, now: datetime, cap_s: float
) -> float | None:
    """Return the seconds to wait, between 0 and ``cap_s``; None if the header is absent or invalid.

    ``date`` is the ``Date`` header of the same response: a date in ``value`` is taken relative to
    it, so that a wrong local clock doesn't matter. ``now`` (timezone-aware) is used if there is no
    valid ``Date``.
    """
    if value is None:
        return None
    value = value.strip(" \t")
    if _SECONDS.fullmatch(value):
        if len(value) >= 16:
            return cap_s
        return min(float(value), cap_s)
    until = _parse_date(value)
    if until is None:
        return None
    since = _parse_date(date or "") or now
    left_s = (until - since).total_seconds()
    return min(max(left_s, 0.0), cap_s)


def _parse_date(value: str) -> datetime | None:
    if not _DATE.fullmatch(value.strip(" \t")):
        return None
    try:
        return parsedate_to_datetime(value).replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # such as February 31st
        return None


# TimeoutError is an OSError
_FOREIGN = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError)
_FAILURES = (
    (httpx.ConnectTimeout, "the connection was not established in time"),
    (httpx.ReadTimeout, "no response in time"),
    (httpx.WriteTimeout, "the request could not be sent in time"),
    (httpx.PoolTimeout, "no connection became free in time"),
    (httpx.ReadError, "the connection was lost while the response was read"),
    (httpx.WriteError, "the connection was lost while the request was sent"),
    (
        httpx.RemoteProtocolError,
        "the connection was closed before a complete response, or the response is not HTTP",
    ),
)

_HINTS = {
    401: "check MOLTAZINE_API_KEY; crucible-batch doctor shows where it was found",
    402: "add credits, then run the same command again",
    429: "the gateway asks for fewer requests; run the same command again later",
}
_ALWAYS_THERE = frozenset(
    {Operation.HEALTH, Operation.CREDITS, Operation.WORKFLOWS, Operation.ASSETS}
)
"""The operations whose paths contain no id: a gateway does not answer them with 404."""
_AT_FIRST = _ALWAYS_THERE | {Operation.WORKFLOW}
"""The operations of which one is the first of a command that works on a manifest or an account."""
NOT_A_GATEWAY = "NOT_A_GATEWAY"
_HINT_NO_ANSWER = "check the network and the base URL, then run the same command again"
_HINT_BAD_ANSWER = (
    "check that the base URL is a Crucible gateway's; "
    "if it is, report the request id to its operator"
)
_HINT_REDIRECT = "redirects are never followed with the key; give the final address as the base URL"
_HINT_LATER = "run the same command again later"
_HINT_REFUSED = "correct what the message names; the same request is refused again"
_HINT_DENIED = "the gateway denies access: ask its operator what this API key may do"
_HINT_KEY_REUSED = (
    "if a run directory that is lost has bought the job, "
    "a copy of it, or its receipts.jsonl, brings the outputs back"
)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A complete response of the API, with the key masked.

    ``header`` returns a header by its name, None if absent. ``drop`` closes its connection. Call it
    for an unusable response: extra bytes that a server or proxy sent after a response may be read
    as the next one, and all later responses would then belong to earlier requests.
    """

    status: int
    header: Callable[[str], str | None] = field(repr=False)
    body: bytes = field(repr=False)
    drop: Callable[[], Awaitable[None]] = field(repr=False)


class TransportErrors:
    """A block in which errors of the transport, including timeouts, become ``GatewayError``.

    Cancellation does not. ``hide`` masks the key in the transport's messages.
    """

    __slots__ = ("_hide", "_operation")

    def __init__(self, operation: Operation, hide: Callable[[str], str]) -> None:
        self._operation = operation
        self._hide = hide

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, _FOREIGN):
            failure = no_answer(self._operation, _describe(error, self._hide))
            if isinstance(error, httpx.ProtocolError):
                # It quotes received bytes, which may hold a signed URL, so it isn't the cause.
                raise failure from None
            raise failure from error


def no_answer(operation: Operation, why: str, *, status: int | None = None) -> GatewayError:
    """Return the error for an exchange without a complete response."""
    return GatewayError(
        f"no answer: {why}",
        code="NO_ANSWER",
        operation=operation,
        status=status,
        hint=_HINT_NO_ANSWER,
        in_doubt=decide_retry(operation, None).in_doubt,
    )


def bad_answer(
    operation: Operation,
    status: int,
    why: str,
    *,
    code: str = "BAD_ANSWER",
    request_id: str | None = None,
) -> GatewayError:
    """Return the error for an unusable response.

    ``why`` must hold only field names of it, no values.
    """
    return GatewayError(
        f"invalid response: {why}",
        code=code,
        operation=operation,
        status=status,
        hint=_HINT_BAD_ANSWER,
        request_id=request_id,
        in_doubt=decide_retry(operation, status).in_doubt,
    )


def bad_request(operation: Operation, why: str) -> GatewayError:
    """Return the error for a request that violates the contract and was not sent."""
    return GatewayError(
        f"the gateway's API does not allow this request: {why}",
        code="BAD_REQUEST",
        operation=operation,
        hint="nothing was sent; correct the request",
    )


def refusal(
    operation: Operation,
    url: str,
    answer: HttpAnswer,
    *,
    now: datetime,
    cap_s: float,
    is_known: bool = False,
) -> GatewayError:
    """Return the error for an error response, with the gateway's own code, message and hint.

    ``is_known``: a gateway has answered at this base URL before, so a 404 comes from something in
    front of it.
    """
    if answer.status == 404 and operation in _ALWAYS_THERE and not is_known:
        return _not_a_gateway(operation, url, 404, "there is no {} below it")
    failure = read_failure(answer.body)
    kind = KeyRefusedError if answer.status == 401 else GatewayError
    code, message = _words(failure, answer.status)
    own_hint = ""
    if failure is not None:
        own_hint = clean_message(failure.hint or "")
    return kind(
        message,
        code=code,
        operation=operation,
        status=answer.status,
        hint=own_hint or _hint(answer.status, code, is_readable=failure is not None),
        request_id=request_id(answer, failure),
        in_doubt=decide_retry(operation, answer.status, code).in_doubt,
        retry_after_s=retry_after_s(answer.header, now=now, cap_s=cap_s),
    )


def foreign_answer(operation: Operation, url: str, answer: HttpAnswer) -> NotAGatewayError | None:
    """Return the error for a 2xx response that no gateway gives.

    Such a response is a web page, or JSON without the contract's envelope. None if it may be a
    gateway's, however wrong. Its status means that it is retried like any unusable response.
    """
    if operation not in _AT_FIRST:
        return None
    if answer.body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return _not_a_gateway(operation, url, answer.status, "{} below it is a web page")
    try:
        value = read_json(answer.body)
    except UnreadableError:
        return None
    if isinstance(value, dict) and "success" in value:
        return None
    return _not_a_gateway(operation, url, answer.status, "{} below it is JSON of another form")


def _not_a_gateway(operation: Operation, url: str, status: int, why: str) -> NotAGatewayError:
    base, slash, path = url.rpartition("/api/")
    base = shown(base).rstrip("/")
    reason = why.format(slash + path)
    return NotAGatewayError(
        f"{base} is not the base URL of a Crucible gateway: {reason}",
        code=NOT_A_GATEWAY,
        operation=operation,
        status=status,
        hint=HINT_NOT_A_GATEWAY,
    )


def request_id(answer: HttpAnswer, failure: ApiFailure | None = None) -> str | None:
    """Return the request id from the body or the ``X-Request-Id`` header.

    The gateway's operator needs it.
    """
    given = None
    if failure is not None:
        given = failure.request_id
    given = given or answer.header("x-request-id") or ""
    return clean_message(given, CODE_LIMIT) or None


def retry_after_s(
    header: Callable[[str], str | None], *, now: datetime, cap_s: float
) -> float | None:
    """Return the wait that a response asks for, in seconds and at most ``cap_s``.

    Returns None if it asks for none.
    """
    return parse_retry_after(header("retry-after"), date=header("date"), now=now, cap_s=cap_s)


def _words(failure: ApiFailure | None, status: int) -> tuple[str, str]:
    """Return the code and the message of an error response."""
    without = f"the gateway answered with HTTP status {status} and without"
    if failure is None:
        return f"HTTP_{status}", f"{without} a readable error"
    code = clean_message(failure.code, CODE_LIMIT)
    message = clean_message(failure.error)
    return code or f"HTTP_{status}", message or f"{without} a message"


def _hint(status: int, code: str, *, is_readable: bool) -> str:
    if code == KEY_REUSED:
        return _HINT_KEY_REUSED
    if status == 403:
        return _HINT_DENIED
    if status < 500 and is_access_denied(code):
        return _HINT_DENIED
    if status in _HINTS:
        return _HINTS[status]
    if status < 300:
        return _HINT_BAD_ANSWER
    if status == 404 and not is_readable:
        return _HINT_BAD_ANSWER
    if status < 400:
        return _HINT_REDIRECT
    if status >= 500 or status in (408, 409, 425):
        return _HINT_LATER
    return _HINT_REFUSED


def _describe(error: Exception, hide: Callable[[str], str]) -> str:
    """Return what failed.

    That is the message of a failed connection, which holds no URL, or else a description of the
    error's type.
    """
    if isinstance(error, httpx.ConnectError):
        text = clean_message(hide(str(error)), 200)
        if text:
            return text
    for kind, description in _FAILURES:
        if isinstance(error, kind):
            return description
    return type(error).__name__
