"""A gateway that says the key back in disguise: nothing that the client returns, raises or logs
holds it.
"""

from __future__ import annotations

import json
import logging
import traceback

import httpx
import pytest

from crucible_batch.core.redaction import clean_message
from crucible_batch.errors import GatewayError
from crucible_batch.gateway import open_gateway
from crucible_batch.gateway.api_key import ApiKey
from tests.harness.case_table import each_case
from tests.harness.disguises import DISGUISES, shows
from tests.unit.gateway.conftest import ASSET_ID, BASE, CALLS, GOOD_DATA, JOB_ID, KEY

SIGNED = "https://s.test/bucket/x.png?token=SIGNATURE"
FAILED = {**GOOD_DATA["job"], "status": "failed"}
OUTPUT = {
    "output_index": 0,
    "id": "o-1",
    "path": "b/0.png",
    "mime_type": "image/png",
    "url": "https://s.test/0.png",
}


def spread(value: object, said: str) -> object:
    """Append to each text of an answer but for those that would make it another answer, and add
    fields to objects."""
    if isinstance(value, str):
        return value + said
    if isinstance(value, list):
        return [spread(item, said) for item in value]
    if isinstance(value, dict):
        kept = {"job_id", "asset_id", "workflow_id", "status"}
        known = {name: item if name in kept else spread(item, said) for name, item in value.items()}
        return {**known, f"new {said}": said, "more": {"a": [said]}}
    return value


ANSWERS = {
    **GOOD_DATA,
    "workflows": {
        "workflows": [{"workflow_id": "zimage-base", "updated_at": "x"}, {"workflow_id": "w2"}]
    },
    "credits": {
        **GOOD_DATA["credits"],
        "recent_entries": [
            {
                "id": "e",
                "job_id": "j",
                "entry_type": "t",
                "status": "s",
                "amount": 1,
                "description": "d",
            }
        ],
    },
    "assets": {
        "assets": [
            {"asset_id": ASSET_ID, "status": "ready", "object_path": "p", "original_filename": "f"}
        ]
    },
    "job": {**FAILED, "error_code": "ODD", "error_message": "odd", "outputs": [OUTPUT]},
}


def everything_of(answer: object) -> str:
    return (
        f"{answer!r} {vars(answer) if hasattr(answer, '__dict__') else ''} "
        f"{getattr(answer, 'model_extra', '')}"
    )


def everything_said(error: GatewayError, caplog: pytest.LogCaptureFixture) -> str:
    chain = "".join(traceback.format_exception(error))
    records = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    return f"{chain} {error!r} {error} {error.__dict__} {records}"


@each_case("raw", [False, True])
@each_case("disguise", DISGUISES)
@each_case("operation", sorted(CALLS))
async def test_no_answer_holds_it(world, reply, caplog, operation, disguise, raw):
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    envelope = {"success": True, "data": spread(ANSWERS[operation], f" {DISGUISES[disguise](KEY)}")}
    content = json.dumps(envelope, ensure_ascii=not raw).encode("utf-8", "surrogatepass")
    here = world(reply(200, raw=content))
    try:
        told = everything_of(await CALLS[operation](here.client))
    except GatewayError as error:  # half of a pair is no UTF-8
        told = everything_said(error, caplog)
    assert not shows(KEY, told)


@each_case("disguise", DISGUISES)
@each_case("status", [200, 401, 402, 500])
async def test_no_refusal_holds_it(world, reply, caplog, status, disguise):
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    said = DISGUISES[disguise](KEY)
    body = {
        "success": False,
        "code": f"C{said}",
        "error": f"e {said}",
        "hint": f"h {said}",
        "request_id": said,
    }
    here = world(reply(status, body, retry_after="0"))
    with pytest.raises(GatewayError) as caught:
        await here.client.job(JOB_ID)
    assert not shows(KEY, everything_said(caught.value, caplog))
    for text in (
        caught.value.code,
        caught.value.message,
        caught.value.hint,
        caught.value.request_id,
    ):
        assert not shows(KEY, text or "")


async def test_what_a_cut_would_leave_of_it_is_gone(world, reply):
    long = "x" * 470 + " " + KEY + " and more" * 40
    here = world(
        reply(
            400,
            {
                "success": False,
                "code": "C" * 70 + KEY,
                "error": long,
                "hint": long,
                "request_id": long,
            },
        )
    )
    with pytest.raises(GatewayError) as caught:
        await here.client.job(JOB_ID)
    error = caught.value
    assert "moltazine" not in f"{error.code} {error.message} {error.hint} {error.request_id}"


@each_case("blanks", range(0, 40, 4))
def test_a_link_loses_its_rights_before_it_is_cut_and_after_it_is_cleaned(blanks: int) -> None:
    assert "PASS" not in clean_message("x" * (60 + blanks) + " https://user:PASSWORD@s.test/", 100)
    assert "PASS" not in clean_message("x" * blanks + " https:\u200b//user:PASSWORD@s.test/", 100)


@pytest.mark.parametrize("place", ["code", "error", "hint", "request_id"])
@pytest.mark.parametrize(
    "form", [SIGNED, "X-Amz-Signature: SIGNATURE", '{"signature":"SIGNATURE"}']
)
async def test_a_signature_is_in_no_part_of_a_refusal(world, reply, place, form):
    body = {"success": False, "code": "C", "error": "e", place: f"a {form}"}
    for status in (200, 400):
        with pytest.raises(GatewayError) as caught:
            await world(reply(status, body)).client.job(JOB_ID)
        assert "SIGNATURE" not in str(caught.value.__dict__)


async def test_a_signed_link_is_in_no_request_id(world, reply):
    for body in (b"<html>", b'{"success": true, "data": {}}'):
        with pytest.raises(GatewayError) as caught:
            await world(reply(200, raw=body, x_request_id=SIGNED)).client.job(JOB_ID)
        assert caught.value.request_id == "https://s.test/bucket/x.png?***"


@pytest.mark.parametrize("place", ["error_code", "error_message"])
async def test_a_jobs_own_error_holds_neither(world, ok, place):
    named = (SIGNED, "X-Amz-Signature: SIGNATURE", '{"signature":"SIGNATURE"}')
    for words in (
        *(dressed(KEY) for name, dressed in DISGUISES.items() if name != "lone surrogate"),
        *named,
    ):
        snapshot = await world(ok({**FAILED, place: f"odd {words}"})).gateway.job(JOB_ID)
        assert not shows(KEY, f"{snapshot.error}")
        assert "SIGNATURE" not in f"{snapshot.error}"


async def test_a_line_of_the_ledger_holds_neither(world, ok):
    entry = {
        "id": "e",
        "amount": 1,
        "description": f"for {SIGNED}",
        "status": SIGNED,
        "entry_type": SIGNED,
    }
    account = await world(ok({**GOOD_DATA["credits"], "recent_entries": [entry]})).gateway.account()
    assert "SIGNATURE" not in f"{account}"
    assert account.entries[0].description == "for https://s.test/bucket/x.png?***"


@pytest.mark.parametrize(
    "failure", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError, OSError]
)
async def test_no_failure_of_a_transport_shows_it(failure):
    def handler(_: httpx.Request) -> httpx.Response:
        raise failure(f"{'x' * 180} {KEY}")

    async with open_gateway(
        BASE, KEY, transport=httpx.MockTransport(handler), retry=None
    ) as gateway:
        with pytest.raises(GatewayError) as of_the_api:
            await gateway.job(JOB_ID)
        with pytest.raises(GatewayError) as of_the_storage:
            async with gateway.download("https://s.test/x.png"):
                pass
    for caught in (of_the_api, of_the_storage):
        assert "moltazine" not in str(caught.value.__dict__)


async def test_a_redirect_that_holds_it_is_not_followed():
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(302, headers={"location": f"https://s.test/{KEY.upper()}/x.png"})

    async with open_gateway(
        BASE, KEY, transport=httpx.MockTransport(handler), retry=None
    ) as gateway:
        with pytest.raises(GatewayError) as caught:
            async with gateway.download("https://s.test/x.png"):
                pass
    assert caught.value.code == "UNSAFE_URL"
    assert not shows(KEY, str(caught.value.__dict__))
    assert asked == ["https://s.test/x.png"]


async def test_numbers_keep_their_digits_where_it_is_taken_out(world, reply):
    raw = (
        '{"success": true, "data": {"balance": 12345678901.123456789, "reserved": 1e0, '
        f'"available": 1.50, "note": "{KEY}", "{KEY.upper()}": {{"x": 0.10}}}}}}'
    )
    found = await world(reply(200, raw=raw.encode())).client.credits()
    assert (str(found.balance), str(found.available)) == ("12345678901.123456789", "1.50")
    assert found.model_extra["note"] == "***"
    assert str(found.model_extra["***"]["x"]) == "0.10"


async def test_an_answer_without_it_is_read_as_the_bytes_that_came() -> None:
    for body in (b"", b"\xff\xfe", b'{"a": "\\u00e9\xc3\xa9"}', b'"' * 1000, b'{"a": "b\\"'):
        assert ApiKey(KEY).hidden_in_bytes(body) is body
