"""Heartbeats and webhooks over real connections: what is sent, what each answer means, and that
nothing hangs.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
from datetime import datetime

import pytest
import trustme
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from crucible_batch.features.notify.delivery import (
    DeliveryResult,
    NotificationChannel,
    Patience,
    deliver,
)
from crucible_batch.features.notify.http_channels import (
    Heartbeat,
    HttpSender,
    SendError,
    Webhook,
    ping_url,
)
from crucible_batch.gateway import aiohttp_transport
from crucible_batch.secret_text import HiddenText
from tests.features.notify.receiving import (
    ATTEMPT,
    CANARY,
    HANG,
    OK,
    Receiver,
    answer,
    message,
    receiving,
)
from tests.harness.case_table import each_case

KEYS = (b"k" * 32, b"o" * 24)
SECRETS = ["whsec_" + base64.b64encode(key).decode() for key in KEYS]


def heartbeat(receiver: Receiver, timeout_s: float = 20.0) -> Heartbeat:
    return Heartbeat(
        "env:HEARTBEAT_URL", HiddenText(f"{receiver.url}/{CANARY}"), HttpSender(None, timeout_s)
    )


def webhook(receiver: Receiver, keys: tuple[bytes, ...] = KEYS) -> Webhook:
    return Webhook("env:HOOK_URL", HiddenText(f"{receiver.url}/{CANARY}"), keys, HttpSender(None))


class Waits:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)

    @property
    def patience(self) -> Patience:
        return Patience(sleep=self.sleep, clock=lambda: sum(self.seconds), jitter=lambda: 0.0)


async def sent(
    channel: NotificationChannel, waits: Waits | None = None, kind: str = "run.partial"
) -> DeliveryResult:
    (result,) = await deliver(message(kind), [channel], (waits or Waits()).patience)
    return result


# -- heartbeats


@each_case(
    "kind, code, path",
    [
        ("run.succeeded", 0, "/0"),
        ("run.partial", 1, "/1"),
        ("run.blocked", 4, "/4"),
        ("run.failed", 143, "/143"),
    ],
)
async def test_a_ping_has_the_exit_code_and_the_id_of_the_run(
    kind: str, code: int, path: str
) -> None:
    async with receiving() as receiver:
        await heartbeat(receiver).send(message(kind, exit_code=code))
    (request,) = receiver.requests
    assert request.path == f"/{CANARY}{path}"
    assert request.query == {"rid": [ATTEMPT]}


@each_case(
    "url, expected",
    [
        ("https://hc.test/uuid", "https://hc.test/uuid/1?rid="),
        ("https://hc.test/uuid/", "https://hc.test/uuid/1?rid="),
        ("https://hc.test/key/slug?create=1", "https://hc.test/key/slug/1?create=1&rid="),
        ("https://user:word@hc.test/uuid", "https://user:word@hc.test/uuid/1?rid="),
    ],
)
def test_the_address_of_a_ping_keeps_the_query_and_the_user(url: str, expected: str) -> None:
    pinged = ping_url(url, message())
    assert pinged == f"{expected}{ATTEMPT}"
    assert repr(pinged) == "'***'"


async def test_the_body_of_a_ping_is_the_summary() -> None:
    async with receiving() as receiver:
        await heartbeat(receiver).send(message())
    (request,) = receiver.requests
    assert request.body.startswith(b"crucible-batch: spring")
    assert request.headers["content-type"] == "text/plain; charset=utf-8"


# -- webhooks


async def test_the_verifier_of_standard_webhooks_accepts_a_webhook_with_each_secret() -> None:
    async with receiving() as receiver:
        await webhook(receiver).send(message())
    (request,) = receiver.requests
    for secret in SECRETS:
        assert Verifier(secret).verify(request.body, request.headers)["type"] == "run.partial"
    with pytest.raises(WebhookVerificationError):
        Verifier("whsec_" + base64.b64encode(b"x" * 32).decode()).verify(
            request.body, request.headers
        )
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRETS[0]).verify(request.body.replace(b"spring", b"autumn"), request.headers)
    assert json.loads(request.body) == json.loads(message().to_json())
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers


async def test_each_try_of_a_webhook_has_the_same_id_and_a_signature_of_its_own_time() -> None:
    times = iter([1_790_000_000.9, 1_790_000_007.0])
    async with receiving(answer("500 Internal Server Error"), OK) as receiver:
        hook = webhook(receiver)
        hook.now = lambda: next(times)
        assert (await sent(hook)).attempts == 2
    first, second = (request.headers for request in receiver.requests)
    assert first["webhook-id"] == second["webhook-id"] == message().webhook_id
    assert (first["webhook-timestamp"], second["webhook-timestamp"]) == ("1790000000", "1790000007")
    expected = Verifier(SECRETS[0]).sign(
        message().webhook_id,
        datetime.fromtimestamp(1790000007),  # noqa: DTZ006
        message().to_json().decode(),
    )
    assert expected in second["webhook-signature"].split()


# -- answers


@each_case("status", ["200 OK", "202 Accepted", "204 No Content"])
async def test_each_2xx_is_a_success(status: str) -> None:
    async with receiving(answer(status)) as receiver:
        assert await sent(webhook(receiver)) == DeliveryResult(
            "partial", "webhook", "env:HOOK_URL", 1
        )


@each_case(
    "status, error",
    [
        ("301 Moved", "HTTP 301 (redirects are not followed)"),
        ("400 Bad Request", "HTTP 400"),
        ("404 Not Found", "HTTP 404 (no such address)"),
        ("409 Conflict", "HTTP 409 (the slug is ambiguous: several checks have it)"),
        ("410 Gone", "HTTP 410 (the receiver is gone: remove this notification)"),
    ],
)
async def test_a_definite_refusal_is_not_tried_again(status: str, error: str) -> None:
    async with receiving(
        answer(status, f"Location: http://127.0.0.1:1/{CANARY}\r\n", b"canary body")
    ) as receiver:
        result = await sent(webhook(receiver))
    assert (result.error, result.attempts, len(receiver.requests)) == (error, 1, 1)


@each_case(
    "failure", [answer("408 Timeout"), answer("429 Slow"), answer("500 X"), answer("503 X"), None]
)
async def test_a_passing_failure_is_tried_again(failure: bytes | None) -> None:
    async with receiving(failure, failure, OK) as receiver:
        waits = Waits()
        result = await sent(webhook(receiver), waits)
    assert (result.is_sent, result.attempts, waits.seconds) == (True, 3, [1.0, 2.0])


async def test_the_tries_are_few() -> None:
    async with receiving(answer("500 X")) as receiver:
        waits = Waits()
        result = await sent(webhook(receiver), waits)
    assert (result.error, result.attempts, len(receiver.requests)) == ("HTTP 500", 4, 4)
    assert waits.seconds == [1.0, 2.0, 4.0]


@each_case("asked, waited, attempts", [("7", [7.0], 2), ("0", [1.0], 2), ("31", [], 1)])
async def test_a_wait_that_the_receiver_asks_for_is_kept_if_there_is_time(
    asked: str, waited: list[float], attempts: int
) -> None:
    async with receiving(answer("429 Slow", f"Retry-After: {asked}\r\n"), OK) as receiver:
        waits = Waits()
        result = await sent(webhook(receiver), waits)
    assert (waits.seconds, result.attempts, result.is_sent) == (waited, attempts, attempts == 2)


async def test_a_silent_receiver_is_not_waited_for() -> None:
    async with receiving(HANG) as receiver:
        check = heartbeat(receiver, timeout_s=0.2)
        with pytest.raises(SendError, match=r"^no answer within 0 s$") as caught:
            await check.send(message())
    assert not caught.value.is_final


async def test_all_tries_together_have_a_limit() -> None:
    async with receiving(HANG) as receiver:
        check = heartbeat(receiver)
        check.limit_s = 0.3
        result = await sent(check)
    assert (result.error, result.attempts) == ("no answer within 0 s", 1)


async def test_an_endless_answer_is_not_read() -> None:
    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
                await writer.drain()
        except ConnectionError:
            pass

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    receiver = Receiver((), f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with asyncio.timeout(60):
        assert (await sent(webhook(receiver))).is_sent
    server.close()


async def test_endless_headers_are_a_failure() -> None:
    async with receiving(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000) as receiver:
        result = await sent(webhook(receiver))
    assert result.error == "the connection was closed without an answer"


async def test_a_receiver_that_is_not_there_is_named_by_its_source_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with receiving() as receiver:
        url = receiver.url
    caplog.set_level(logging.DEBUG)
    result = await sent(
        Heartbeat("env:HEARTBEAT_URL", HiddenText(f"{url}/{CANARY}"), HttpSender(None))
    )
    assert result.error == "no connection: connection refused"
    assert (
        "notification of partial to heartbeat env:HEARTBEAT_URL failed: no connection"
        in caplog.text
    )
    assert CANARY not in caplog.text
    assert "127.0.0.1" not in caplog.text


async def test_a_certificate_is_verified_and_its_name_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.test").configure_cert(context)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    receiver = Receiver((OK,))
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=context)
    receiver.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for roots in (
        aiohttp_transport.certificates(),
        trusted,
    ):  # an unknown authority, then another name
        monkeypatch.setattr(aiohttp_transport, "certificates", lambda roots=roots: roots)
        result = await sent(webhook(receiver))
        assert (result.error, result.attempts) == ("its certificate is not valid", 1)
    server.close()
    assert receiver.requests == []


async def test_a_proxy_is_used() -> None:
    async with receiving() as proxy:
        hook = Webhook("env:X", HiddenText("http://hook.test/x"), KEYS, HttpSender(proxy.url))
        await hook.send(message())
    assert proxy.requests[0].target == "http://hook.test/x"


async def test_channels_are_served_at_the_same_time_and_fail_alone() -> None:
    async with receiving(HANG) as hanging, receiving() as fine:
        slow, quick = webhook(hanging), heartbeat(fine)
        slow.limit_s = 1.0
        results = await deliver(message(), [slow, quick], Waits().patience)
    assert [result.is_sent for result in results] == [False, True]


async def test_a_bug_of_a_channel_is_a_failure_without_its_text() -> None:
    class Broken:
        kind, source, limit_s = "webhook", "env:X", 30.0

        async def send(self, message: object) -> None:
            raise RuntimeError(CANARY)

    (result,) = await deliver(message(), [Broken()], Waits().patience)
    assert result.error == "failed with RuntimeError"


def test_nothing_that_a_debugger_shows_of_a_channel_has_its_address() -> None:
    receiver = Receiver((), "https://user:word@hc.test")
    shown = (
        repr(heartbeat(receiver))
        + repr(webhook(receiver))
        + repr(HttpSender("http://user:word@proxy.test"))
    )
    for secret in (CANARY, "word", "hc.test", "proxy.test", "kkk"):
        assert secret not in shown
