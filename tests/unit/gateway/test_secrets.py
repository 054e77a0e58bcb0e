"""The key and signed URLs: where they go, and everywhere that they never show."""

from __future__ import annotations

import logging
import pickle
import traceback

import httpx
import pytest

from crucible_batch.core.redaction import clean_message
from crucible_batch.errors import CrucibleBatchError, GatewayError, KeyRefusedError, UserError
from crucible_batch.gateway import ApiKey, CrucibleClient, HttpGateway, log_filter, open_gateway
from crucible_batch.gateway.transport import HttpxChannel, KeyChannel, KeyTransport, new_client
from crucible_batch.gateway.url_guard import parse_api_base
from tests.harness.case_table import each_case
from tests.unit.gateway.conftest import each_operation

KEY = "moltazine_test-key-that-must-not-be-seen"
MALFORMED = "copy the key again; it looks like moltazine_<token>, on one line"
SIGNED = "https://s.test/bucket/x.png?token=SIGNATURE"


def test_a_key_never_shows():
    key = ApiKey(KEY)
    assert (str(key), repr(key)) == ("***", "ApiKey('***')")
    for text in (
        str(key),
        repr(key),
        f"{key}",
        f"{key!r}",
        "%s" % key,  # noqa: UP031
        repr([key]),
        repr({"k": key}),
    ):
        assert KEY not in text
        assert "***" in text
    assert key.reveal() == KEY
    assert not hasattr(key, "__dict__")
    with pytest.raises(TypeError, match=r"^an API key is not written anywhere$"):
        pickle.dumps(key)


@each_case(
    "text",
    [
        "",
        " ",
        "a b",
        " k3y",
        "k3y\n",
        "key\r\nX-Evil: 1",
        "k\x00",
        "schlüssel",
        "k" * 513,
        "\ud800",
    ],
)
def test_a_key_that_cant_stand_in_a_header_is_refused_without_showing_it(text):
    with pytest.raises(KeyRefusedError) as caught:
        ApiKey(text)
    assert not text.strip() or text not in str(caught.value)
    error = caught.value
    assert (error.args[0], error.code, error.hint) == (
        ("the API key contains blanks or invalid characters", "MALFORMED_KEY", MALFORMED)
        if text
        else ("there is no API key", "NO_KEY", "set MOLTAZINE_API_KEY")
    )


@each_operation
async def test_the_key_goes_with_every_request_to_the_api(world, ok, call, operation, good_data):
    here = world(ok(good_data(operation)))
    await call(here.client, operation)
    assert [request.headers["authorization"] for request in here.requests] == [f"Bearer {KEY}"]


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.test/api/v1/credits", "http://crucible.test/api/v1/credits",
        "https://crucible.test:8443/", "https://crucible.test.evil.test/",
        "https://sub.crucible.test/", "https://crucible.test@evil.test/", "//crucible.test/",
        "/api/v1/credits",
    ],
)  # fmt: skip
async def test_the_key_goes_to_no_other_origin(url):
    def never(request: httpx.Request) -> httpx.Response:
        raise AssertionError("sent")

    transport = KeyTransport(
        httpx.MockTransport(never), ApiKey(KEY), parse_api_base("https://crucible.test")
    )
    async with new_client(transport, timeout_s=1) as client:
        with pytest.raises(RuntimeError) as caught:
            await client.get(url)
    assert KEY not in str(caught.value)
    channel = KeyChannel(
        HttpxChannel(new_client(httpx.MockTransport(never), timeout_s=1)),
        ApiKey(KEY),
        parse_api_base("https://crucible.test"),
    )
    with pytest.raises(RuntimeError) as caught:
        await channel.send("GET", url, {})
    assert KEY not in str(caught.value)


async def test_the_default_port_is_the_same_origin():
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200)

    transport = KeyTransport(
        httpx.MockTransport(handler), ApiKey(KEY), parse_api_base("https://crucible.test:443")
    )
    async with new_client(transport, timeout_s=1) as client:
        response = await client.get("https://crucible.test/")
    assert seen == [f"Bearer {KEY}"]
    assert "authorization" not in response.request.headers


async def read(gateway: HttpGateway, url: str) -> None:
    async with gateway.download(url) as (_, chunks):
        async for _ in chunks:
            pass


def everything_said(error: BaseException, caplog: pytest.LogCaptureFixture) -> str:
    chain = "".join(traceback.format_exception(error))
    records = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    return f"{chain} {error!r} {error} {getattr(error, '__dict__', {})} {records} {caplog.text}"


@each_case("broken", [httpx.ConnectError, httpx.RemoteProtocolError, 401, 500, 200, 302])
@each_operation
async def test_no_error_and_no_log_shows_the_key(world, reply, call, caplog, operation, broken):
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    here = world(reply(broken, raw=b"<html>") if isinstance(broken, int) else broken)
    with pytest.raises(CrucibleBatchError) as caught:
        await call(here.client, operation)
    assert KEY not in everything_said(caught.value, caplog)
    assert KEY not in repr(here.client) + repr(vars(here.client))


@pytest.mark.parametrize(
    "broken", [httpx.ConnectError, httpx.RemoteProtocolError, 200, 302, 307, 403, 500]
)
async def test_no_error_and_no_log_shows_a_signed_query(world, reply, caplog, broken):
    caplog.set_level(logging.DEBUG)
    location = "https://s.test/again?token=SIGNATURE"
    answer = (
        reply(broken, raw=b"x", location=location, content_length="9")
        if isinstance(broken, int)
        else broken
    )
    here = world(answer)
    with pytest.raises(GatewayError) as caught:
        await read(here.gateway, SIGNED)
    assert "SIGNATURE" not in everything_said(caught.value, caplog)
    if broken != 200:
        with pytest.raises(GatewayError) as caught:
            await here.storage.put(SIGNED, b"abc", "image/png")
        assert "SIGNATURE" not in everything_said(caught.value, caplog)


async def test_a_signed_url_in_an_answer_that_cant_be_used_is_not_shown(world, ok, call, caplog):
    caplog.set_level(logging.DEBUG)
    here = world(ok({"asset_id": "a/b", "upload_url": SIGNED, "credits_charged": "SIGNATURE"}))
    with pytest.raises(GatewayError) as caught:
        await call(here.client, "create_asset")
    assert "SIGNATURE" not in everything_said(caught.value, caplog)


async def test_the_filter_keeps_the_lines_of_httpx_and_takes_their_queries(world, ok, caplog):
    caplog.set_level(logging.DEBUG)
    here = world(ok({}))
    async with here.gateway.download(SIGNED):
        pass
    [line] = [record.getMessage() for record in caplog.records if record.name == "httpx"]
    assert line.startswith("HTTP Request: GET https://s.test/bucket/x.png?*** ")


async def test_levels_and_handlers_of_the_user_are_left_alone():
    def settings() -> list[object]:
        loggers = [logging.getLogger(name) for name in ("", "httpx", "httpcore", "httpcore.http11")]
        return [
            (logger.level, list(logger.handlers), logger.propagate, logger.disabled)
            for logger in loggers
        ]

    before = settings()
    async with open_gateway("https://crucible.test", KEY):
        assert settings() == before


def test_a_base_url_with_a_password_is_refused_without_showing_it():
    with pytest.raises(UserError) as caught:
        CrucibleClient(KEY, base_url="https://user:SECRET@crucible.test")
    assert "SECRET" not in str(caught.value)


ECHO = {
    "code": f"ODD_{KEY}",
    "error": f"bad key {KEY} for {SIGNED}",
    "hint": f"use {KEY}",
    "request_id": KEY,
}


@each_case(
    "content, shown",
    [
        (b'{"a": "\xff \\u00e9"}', None),
        (b'{"a": "\xff \\u00e9", "b": "see %b"}', b'{"a": "\xff \\u00e9", "b": "see ***"}'),
        (b'{"b": "a raw\nline and %b"}', b'{"b": "a raw\\nline and ***"}'),
        (b'{"b": "\\q %b", "a": 1}', b'{"b": "***", "a": 1}'),
    ],
)
def test_an_answer_loses_the_key_and_keeps_each_byte_of_all_other_strings(content, shown):
    content = content.replace(b"%b", KEY.encode())
    assert ApiKey(KEY).hidden_in_bytes(content) == (content if shown is None else shown)


@pytest.mark.parametrize("status", [200, 403, 500])
async def test_a_key_in_a_header_that_an_error_repeats_is_masked(world, reply, status):
    """Only errors use headers: where the body names no request, they have the id in the header."""
    with pytest.raises(GatewayError) as caught:
        await world(reply(status, raw=b"{", x_request_id=f"edge-{KEY}")).client.credits()
    assert caught.value.request_id == "edge-***"


@each_case("status", [200, 400, 401, 500])
@each_operation
async def test_a_gateway_that_says_the_key_back_or_a_signed_link_is_not_quoted(
    world, reply, call, caplog, operation, status
):
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    here = world(reply(status, {"success": False, **ECHO}, x_request_id=KEY))
    with pytest.raises(GatewayError) as caught:
        await call(here.client, operation)
    error = caught.value
    assert error.code == "ODD_***"
    assert error.message == "bad key *** for https://s.test/bucket/x.png?***"
    said = everything_said(error, caplog)
    assert KEY not in said
    assert "SIGNATURE" not in said


def test_what_the_gateway_says_is_cut_to_what_is_wanted():
    assert clean_message("x" * 50, 10) == "x" * 9 + "…"
    assert clean_message(f"see {SIGNED}", 100) == "see https://s.test/bucket/x.png?***"


@each_case(
    "length, end, shown",
    [
        (
            801,
            "see https://user:SECRET@",
            "see ",
        ),  # the character that shows it to be a password is cut off
        (801, "see https://s.test/x, and why", "see https://s.test/x, and wh"),
        (800, "see https://s.test/x", "see https://s.test/x"),
    ],
)
def test_a_link_that_is_cut_through_is_not_quoted(length, end, shown):
    assert clean_message(end.rjust(length), 100) == shown


@pytest.mark.parametrize("name", log_filter._LOGGERS)
def test_each_logger_of_the_http_libraries_loses_queries(name, caplog):
    logger = logging.getLogger(name)
    logger.removeFilter(log_filter._FILTER)
    log_filter.quiet_loggers()
    caplog.set_level(logging.DEBUG)
    logger.info("asked %s", SIGNED)
    assert caplog.messages == ["asked https://s.test/bucket/x.png?***"]
