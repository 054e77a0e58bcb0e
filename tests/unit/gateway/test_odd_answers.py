"""Odd answers to every operation: each ends in a GatewayError with the right code, and in doubt
where money may be.
"""

from __future__ import annotations

import json
from urllib.parse import unquote

import httpx
import pytest

from crucible_batch.errors import GatewayError, KeyRefusedError, NotAGatewayError
from crucible_batch.gateway import CrucibleClient
from crucible_batch.gateway import client as client_module
from tests.harness.case_table import each_case
from tests.unit.gateway.conftest import each_operation

CHANGES = {"create_asset", "delete_asset", "generate"}
BUYS_AGAIN = {"create_asset"}
ALWAYS_THERE = {"assets", "credits", "health", "workflows"}


def envelope(data: str) -> bytes:
    return b'{"success": true, "data": ' + data.encode() + b"}"


UNREADABLE = {
    "empty": b"",
    "blank": b" \r\n ",
    "html": b"<html><body>502 Bad Gateway</body></html>",
    "truncated": b'{"success": true, "data": {"job_id": "1111',
    "two documents": b'{"success": true} {"success": true}',
    "array": b"[]",
    "null": b"null",
    "text": b'"ok"',
    "number": b"1",
    "no data": b'{"success": true}',
    "data null": envelope("null"),
    "data array": envelope("[]"),
    "data text": envelope('"ok"'),
    "success as text": b'{"success": "true", "data": {}}',
    "success as 1": b'{"success": 1, "data": {}}',
    "nan": envelope('{"x": NaN}'),
    "infinity": envelope('{"x": -Infinity}'),
    "duplicate keys": b'{"success": true, "success": true, "data": {}}',
    "deep array": b"[" * 100_000 + b"]" * 100_000,
    "deep unclosed": b'{"a":' * 100_000,
    "five megabytes": b" " * 5_000_000 + b'{"success": true}',
    "utf-16": '{"success": true}'.encode("utf-16"),
    "utf-32": '{"success": true}'.encode("utf-32"),
    "latin-1": '{"success": true, "data": "é"}'.encode("latin-1"),
    "exponent beyond decimal": envelope('{"x": 1e99999999999999999999}'),
    "integer of 5000 digits": envelope('{"x": ' + "1" * 5_000 + "}"),
    "bytes": bytes(range(256)),
}


@each_case("body", UNREADABLE)
@each_operation
async def test_an_unreadable_2xx_is_a_bad_answer(
    world, reply, ok, call, good_data, operation, body
):
    here = world(ok(good_data("health")), reply(200, raw=UNREADABLE[body]))
    await (
        here.client.health()
    )  # it is a gateway: what comes later is its own fault, or that of something before it
    here.requests.clear()
    with pytest.raises(GatewayError) as caught:
        await call(here.client, operation)
    assert caught.value.code == "BAD_ANSWER"
    assert caught.value.status == 200
    assert caught.value.in_doubt is (operation in CHANGES)
    assert caught.value.operation == operation
    assert caught.value.hint
    assert len(here.requests) == (1 if operation in BUYS_AGAIN else 3)


FOREIGN = ("html", "array", "null", "text", "number")
FIRST = ("health", "credits", "workflows", "workflow", "assets")


@each_case("body", UNREADABLE)
@each_operation
async def test_a_first_answer_that_no_gateway_gives_names_the_base_url(
    world, reply, call, operation, body
):
    here = world(reply(200, raw=UNREADABLE[body]))
    with pytest.raises(GatewayError) as caught:
        await call(here.client, operation)
    is_foreign = operation in FIRST and body in FOREIGN
    assert caught.value.code == ("NOT_A_GATEWAY" if is_foreign else "BAD_ANSWER")
    assert caught.value.exit_code == (2 if is_foreign else 5)
    assert len(here.requests) == (
        1 if operation in BUYS_AGAIN else 3
    )  # a page before a gateway may pass


async def test_a_page_in_place_of_the_first_answer_passes(world, reply, ok, good_data):
    here = world(reply(200, raw=UNREADABLE["html"]), ok(good_data("credits")))
    assert (await here.client.credits()).available == 9


@each_case("status", [200, 404])
async def test_a_page_after_an_answer_of_a_gateway_is_not_blamed_on_the_base_url(
    world, reply, ok, good_data, status
):
    here = world(ok(good_data("health")), reply(status, raw=UNREADABLE["html"]))
    await here.client.health()
    with pytest.raises(GatewayError) as caught:
        await here.client.credits()
    assert caught.value.code == {200: "BAD_ANSWER", 404: "HTTP_404"}[status]
    assert caught.value.exit_code == 5


@each_operation
async def test_a_byte_order_mark_is_let_pass(world, reply, call, operation, good_data):
    body = b"\xef\xbb\xbf" + envelope(json.dumps(good_data(operation)))
    assert await call(world(reply(200, raw=body)).client, operation) is not None


@each_operation
async def test_unknown_fields_are_kept(world, ok, call, operation, good_data):
    data = await call(world(ok({**good_data(operation), "new": {"x": 1}})).client, operation)
    # Of what is a list, the items have fields.
    assert isinstance(data, list) or data.model_extra == {"new": {"x": 1}}


@each_case("depth, code", [(10, None), (61, None), (62, "BAD_ANSWER"), (500, "BAD_ANSWER")])
@each_operation
async def test_unknown_fields_may_be_nested_to_a_depth_of_64_in_all(
    world, ok, call, operation, good_data, depth, code
):
    here = world(ok({**good_data(operation), "new": json.loads("[" * depth + "1" + "]" * depth)}))
    if code is None:
        assert await call(here.client, operation) is not None
    else:
        with pytest.raises(GatewayError, match="nested too deeply"):
            await call(here.client, operation)


@each_operation
async def test_success_false_with_200_keeps_its_code_and_is_in_doubt(
    world, failed, call, operation
):
    with pytest.raises(GatewayError) as caught:
        await call(
            world(failed(200, "OUT_OF_LUCK", hint="wait", request_id="r-9")).client, operation
        )
    error = caught.value
    assert (error.code, error.message, error.hint, error.request_id) == (
        "OUT_OF_LUCK",
        "about OUT_OF_LUCK",
        "wait",
        "r-9",
    )
    assert error.in_doubt is (operation in CHANGES)


@each_case("status", [301, 302, 303, 304, 307, 308])
@each_case(
    "target", ["https://crucible.test/api/health", "https://evil.test/", "file:///etc/passwd"]
)
@each_operation
async def test_a_redirect_is_never_followed(world, reply, call, operation, status, target):
    here = world(reply(status, raw=b"", location=target))
    with pytest.raises(GatewayError) as caught:
        await call(here.client, operation)
    assert caught.value.code == f"HTTP_{status}"
    assert caught.value.in_doubt is (operation in CHANGES)
    assert len(here.requests) == 1


@each_case(
    "body", [b"", b"<html>", b"[]", b'{"code": 5}', b'{"success": true, "code": "X"}', b"\xff"]
)
@each_case("status", [400, 402, 403, 404, 429, 500, 503])
@each_operation
async def test_a_refusal_that_cant_be_read_is_named_by_its_status(
    world, reply, call, operation, status, body
):
    with pytest.raises(GatewayError) as caught:
        await call(world(reply(status, raw=body)).client, operation)
    if status == 404 and operation in ALWAYS_THERE:
        assert isinstance(caught.value, NotAGatewayError)
        assert not caught.value.is_refusal
        assert "/api/" in caught.value.message
    else:
        assert caught.value.code == f"HTTP_{status}"
    assert caught.value.in_doubt is (status >= 500 and operation in CHANGES)


@each_operation
async def test_401_is_the_key_refused(world, failed, call, operation):
    here = world(failed(401, "UNAUTHORIZED", hint="get a key"))
    with pytest.raises(KeyRefusedError) as caught:
        await call(here.client, operation)
    assert (caught.value.code, caught.value.hint, caught.value.in_doubt) == (
        "UNAUTHORIZED",
        "get a key",
        False,
    )
    assert len(here.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        (
            401,
            "UNAUTHORIZED",
            "check MOLTAZINE_API_KEY; crucible-batch doctor shows where it was found",
        ),
        (403, "FORBIDDEN", "the gateway denies access: ask its operator what this API key may do"),
        (403, "OTHER", "the gateway denies access: ask its operator what this API key may do"),
        (
            400,
            "ACCOUNT_SUSPENDED",
            "the gateway denies access: ask its operator what this API key may do",
        ),
        (400, "OTHER", "correct what the message names; the same request is refused again"),
    ],
)
async def test_a_refusal_without_a_hint_has_one_by_its_status_and_code(
    world, failed, call, status, code, hint
):
    with pytest.raises(GatewayError) as caught:
        await call(world(failed(status, code)).client, "credits")
    assert caught.value.hint == hint


@each_operation
async def test_an_html_401_is_the_key_refused_too(world, reply, call, operation):
    with pytest.raises(KeyRefusedError):
        await call(world(reply(401, raw=b"<html>")).client, operation)


@each_case("encoding", ["gzip", "br", "identity, gzip", "x-unknown"])
@each_operation
async def test_an_encoded_answer_is_refused_before_it_is_read(
    world, reply, call, operation, encoding
):
    def bomb(request: httpx.Request) -> httpx.Response:
        async def body():
            raise AssertionError("read")
            yield b""

        return httpx.Response(200, content=body(), headers={"content-encoding": encoding})

    with pytest.raises(GatewayError) as caught:
        await call(world(bomb).client, operation)
    assert caught.value.code == "BAD_ANSWER"


@each_case(
    "error",
    [httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError, httpx.ReadTimeout,
     httpx.PoolTimeout, httpx.WriteError, httpx.ProxyError, httpx.LocalProtocolError,
     httpx.UnsupportedProtocol, httpx.DecodingError, OSError, TimeoutError],
)  # fmt: skip
@each_operation
async def test_every_transport_error_is_no_answer_and_in_doubt_where_it_changes(
    world, call, operation, error
):
    here = world(error)
    with pytest.raises(GatewayError) as caught:
        await call(here.client, operation)
    assert caught.value.code == "NO_ANSWER"
    assert caught.value.status is None
    assert caught.value.in_doubt is (operation in CHANGES)
    assert len(here.requests) == (1 if operation in BUYS_AGAIN else 3)


WRONG_CHARGES = ["-1", "-0.5", "1e-19"]
WRONG_CREDITS = ["1e999999999", "1e12", "-1e12", '"abc"', '"NaN"', '"1e3"', '"１２"', '" 1"',
                 '"1_0"', "null", "true", "[]", "{}"]  # fmt: skip
FIGURES = [("credits", "balance"), ("credits", "reserved"), ("credits", "available")]
CHARGES = [("create_asset", "credits_charged"), ("delete_asset", "credit_rebate"),
           ("generate", "requested_credits"), ("job", "requested_credits")]  # fmt: skip
CREDIT_FIELDS = FIGURES + CHARGES


@each_case(
    "of, name, amount",
    [(*field, amount) for field in CREDIT_FIELDS for amount in WRONG_CREDITS]
    + [(*field, amount) for field in CHARGES for amount in WRONG_CHARGES],
)
async def test_credits_that_are_no_amount_are_a_bad_answer(
    world, reply, call, good_data, of, name, amount
):
    text = json.dumps({**good_data(of), name: "HERE"}).replace('"HERE"', amount)
    with pytest.raises(GatewayError) as caught:
        await call(world(reply(200, raw=envelope(text))).client, of)
    assert caught.value.code == "BAD_ANSWER"
    assert name in caught.value.message
    assert caught.value.in_doubt is (of in CHANGES)


@each_case("of, name", FIGURES)
@each_case(
    "text, amount", [("-5", -5), ("-2.8e-17", 0), ("2.7755575615628914e-17", 0), ('"-5"', -5)]
)
async def test_an_account_may_be_in_debt_and_be_counted_in_binary_floats(
    world, reply, good_data, of, name, text, amount
):
    body = json.dumps({**good_data(of), name: "HERE"}).replace('"HERE"', text)
    found = await world(reply(200, raw=envelope(body))).client.credits()
    assert str(getattr(found, name)) == str(amount)


MISSING = [*CREDIT_FIELDS, ("generate", "job_id"), ("job", "job_id"), ("create_asset", "asset_id"),
           ("create_asset", "upload_url"), ("delete_asset", "deleted"), ("asset", "asset_id"),
           ("workflow", "workflow_id"), ("workflows", "workflows"),
           ("assets", "assets")]  # fmt: skip


@each_case("of, name", MISSING)
async def test_what_we_need_and_is_missing_is_a_bad_answer(world, ok, call, good_data, of, name):
    data = good_data(of)
    del data[name]
    with pytest.raises(GatewayError) as caught:
        await call(world(ok(data, 202)).client, of)
    assert (caught.value.code, caught.value.status) == ("BAD_ANSWER", 202)
    assert name in caught.value.message


@each_case("bad_id", ["", "../credits", "a/b", "a b", "x" * 129, "a\n", "\x1b[2J", "é", 7, None])
@each_case("of, name", [("generate", "job_id"), ("job", "job_id"), ("create_asset", "asset_id")])
async def test_an_id_that_is_none_is_a_bad_answer(world, ok, call, good_data, of, name, bad_id):
    with pytest.raises(GatewayError) as caught:
        await call(world(ok({**good_data(of), name: bad_id})).client, of)
    assert caught.value.code == "BAD_ANSWER"


@each_case(
    "of, name",
    [
        ("job", "job_id"),
        ("asset", "asset_id"),
        ("delete_asset", "asset_id"),
        ("workflow", "workflow_id"),
    ],
)
async def test_an_answer_about_something_else_is_a_bad_answer(world, ok, call, good_data, of, name):
    with pytest.raises(GatewayError) as caught:
        await call(world(ok({**good_data(of), name: "another"})).client, of)
    assert caught.value.code == "BAD_ANSWER"
    assert "another" in caught.value.message


async def test_an_id_in_capitals_is_the_same_id(world, ok, good_data):
    data = {**good_data("job"), "job_id": "ABCDEF00-0000-4000-8000-000000000000"}
    job = await world(ok(data)).client.job("abcdef00-0000-4000-8000-000000000000")
    assert job.job_id == data["job_id"]


async def test_an_output_of_another_job_is_a_bad_answer(world, ok, call, good_data):
    data = {
        **good_data("job"),
        "outputs": [{"job_id": "other", "output_index": 0, "url": "https://s.test/x?sig=1"}],
    }
    with pytest.raises(GatewayError) as caught:
        await call(world(ok(data)).client, "job")
    assert caught.value.code == "BAD_ANSWER"
    assert "sig" not in str(caught.value)


@each_case("index", [None, -1, "0", 0.5, True, [], 1e30])
async def test_an_output_index_that_is_none_is_a_bad_answer(world, ok, call, good_data, index):
    with pytest.raises(GatewayError) as caught:
        await call(
            world(ok({**good_data("job"), "outputs": [{"output_index": index}]})).client, "job"
        )
    assert caught.value.code == "BAD_ANSWER"


@each_case("bad", [0, {}, "x", [1], [None], [[]]])
async def test_outputs_of_a_wrong_form_are_a_bad_answer(world, ok, call, good_data, bad):
    with pytest.raises(GatewayError) as caught:
        await call(world(ok({**good_data("job"), "outputs": bad})).client, "job")
    assert caught.value.code == "BAD_ANSWER"


async def test_the_words_of_a_refusal_are_stripped_and_cut(world, failed):
    noisy = failed(
        400,
        "A\x1b[31mB\u202e" + "C" * 500,
        error="x\x1b]0;title\x07y\n\x00z " + "w" * 10_000,
        hint="\x9b1m",
        request_id=7,
    )
    with pytest.raises(GatewayError) as caught:
        await world(noisy).client.credits()
    error = caught.value
    assert error.code.startswith("ABC")
    assert len(error.code) <= 100
    assert error.message.startswith("xy z w")
    assert len(error.message) <= 500
    assert error.hint == "1m"
    assert error.request_id is None
    assert str(error).isprintable()


async def test_the_request_id_comes_from_the_header_where_the_body_has_none(world, reply):
    with pytest.raises(GatewayError) as caught:
        await world(reply(500, raw=b"<html>", x_request_id="edge-7")).client.credits()
    assert caught.value.request_id == "edge-7"


async def test_cookies_are_not_kept(world, reply, good_data):
    body = envelope(json.dumps(good_data("credits")))
    here = world(reply(200, raw=body, set_cookie="a=b; Path=/"))
    await here.client.credits()
    await here.client.credits()
    assert all("cookie" not in request.headers for request in here.requests)


@each_case("params", [{"a": float("nan")}, {"a": "\ud800"}, {"a": object()}, {1: 2}])
async def test_params_that_json_has_no_form_for_are_refused_before_anything_is_sent(
    world, ok, good_data, params
):
    here = world(ok(good_data("generate")))
    with pytest.raises(GatewayError) as caught:
        await here.client.generate("zimage-base", params, idempotency_key="k")
    assert (caught.value.code, caught.value.in_doubt, here.requests) == ("BAD_REQUEST", False, [])


@each_case("key", ["", "k" * 129, None])
async def test_generate_needs_a_key(world, ok, good_data, key):
    here = world(ok(good_data("generate")))
    with pytest.raises(GatewayError) as caught:
        await here.client.generate("zimage-base", {}, idempotency_key=key)
    assert (caught.value.code, here.requests) == ("BAD_REQUEST", [])


@each_case("bad_id", ["", ".", "..", "../credits", "a/b", "a?b", "a#b", "a%2fb", "é", "a\r\nb"])
async def test_ids_that_dont_fit_a_path_are_refused_before_anything_is_sent(world, ok, bad_id):
    here = world(ok({}))
    for method in (here.client.job, here.client.asset, here.client.delete_asset):
        with pytest.raises(GatewayError) as caught:
            await method(bad_id)
        assert caught.value.code == "BAD_REQUEST"
    assert here.requests == []


@each_case("bad_id", ["", ".", "..", "a\r\nb", "\x00", "x" * 201])
async def test_what_can_be_no_workflow_id_is_refused_before_anything_is_sent(world, ok, bad_id):
    here = world(ok({}))
    with pytest.raises(GatewayError) as caught:
        await here.client.workflow(bad_id)
    assert (caught.value.code, here.requests) == ("BAD_REQUEST", [])


@each_case("odd_id", ["flux-1.1", "edit/v2", "a:b@1", "a b", "a?b#c", "a%2fb", "../credits", "é"])
async def test_any_other_workflow_id_is_one_segment_of_the_path(world, ok, odd_id):
    here = world(ok({"workflow_id": odd_id, "metadata": {}}))
    assert (await here.client.workflow(odd_id)).workflow_id == odd_id
    (request,) = here.requests
    segments = request.url.raw_path.decode().split("/")
    assert [unquote(segment) for segment in segments] == [
        "",
        "api",
        "v1",
        "workflows",
        odd_id,
        "metadata",
    ]


@each_case(
    "wrong",
    [
        {"mime_type": "text/plain"},
        {"byte_size": 0},
        {"byte_size": True},
        {"filename": ""},
        {"filename": "x" * 256},
    ],
)
async def test_an_asset_intent_that_breaks_the_contract_is_not_sent(world, ok, good_data, wrong):
    here = world(ok(good_data("create_asset")))
    with pytest.raises(GatewayError) as caught:
        await here.client.create_asset(**{"mime_type": "image/png", "byte_size": 1, **wrong})
    assert (caught.value.code, here.requests) == ("BAD_REQUEST", [])


async def test_a_path_in_the_base_url_is_kept(reply, good_data):
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return reply(200, raw=envelope(json.dumps(good_data("workflow"))))()

    transport = httpx.MockTransport(handler)
    async with CrucibleClient(
        "key", base_url="https://h.test/gate/", transport=transport
    ) as client:
        await client.workflow("zimage-base")
    assert seen == ["https://h.test/gate/api/v1/workflows/zimage-base/metadata"]


async def test_a_job_of_another_key_is_told_as_long_as_it_is_among_the_newest(
    world, ok, good_data, monkeypatch
):
    monkeypatch.setattr(client_module, "REMEMBERED_JOBS", 2)
    jobs = {"k1": "j1", "k2": "j2", "k3": "j3", "k4": "j3", "k5": "j1"}

    def answer(request: httpx.Request) -> httpx.Response:
        job_id = jobs[json.loads(request.content)["idempotency_key"]]
        return ok({**good_data("generate"), "job_id": job_id}, 202)(request)

    client = world(answer).client
    for key in ("k1", "k2", "k3"):
        await client.generate("w", {}, idempotency_key=key)
    with pytest.raises(GatewayError) as caught:
        await client.generate("w", {}, idempotency_key="k4")
    assert (caught.value.code, caught.value.in_doubt) == ("JOB_OF_ANOTHER_KEY", True)
    assert (
        await client.generate("w", {}, idempotency_key="k5")
    ).job_id == "j1"  # the oldest was forgotten
