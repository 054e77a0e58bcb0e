"""The adapter: the wire's words in the domain's, for the engine's port."""

from __future__ import annotations

import json
import logging
from decimal import Decimal

import httpx
import pytest

from crucible_batch.core.gateway_types import (
    AssetSpec,
    AssetStatus,
    ErrorInfo,
    JobStatus,
    LedgerEntry,
    OutputLink,
    UploadIntent,
)
from crucible_batch.errors import GatewayError
from crucible_batch.gateway import RetryPolicy, open_gateway
from crucible_batch.gateway.adapter import _seconds, read_expected_s, read_fields
from tests.harness.case_table import each_case

SPEC = AssetSpec(sha256="ab" * 32, byte_size=3, mime_type="image/png", filename="cat.png")


@each_case(
    "listed, expected",
    [
        (["prompt.text", "size.width"], ("prompt.text", "size.width")),
        ([{"name": "a"}, {"key": "b"}, {"id": "c"}], ("a", "b", "c")),
        ([{"name": "a", "key": "x", "id": "y"}, "b"], ("a", "b")),
        ([{"name": None, "key": "b"}], ("b",)),
        ({"a": {"type": "string"}, "b": None}, ("a", "b")),
        ([], ()), ({}, ()), (["a", "a", "b"], ("a", "b")),
        (None, None), ("a,b", None), (7, None), (True, None), ([1], None), ([None], None),
        (["a", {}], None), ([{"title": "a"}], None), ([["a"]], None), ([""], None), ({"": 1}, None),
    ],
)  # fmt: skip
def test_available_fields_are_read_in_all_their_forms(listed, expected):
    assert read_fields({"available_fields": listed}) == expected


def test_absent_fields_are_none():
    assert read_fields({}) is None


@each_case(
    "value, expected",
    [(8, 8.0), (Decimal("8.5"), 8.5), (0, None), (-1, None), (True, None), ("8", None),
     (None, None), (Decimal("1E+999999999"), None), (10**400, None)],
)  # fmt: skip
def test_an_estimate_is_a_sensible_time_or_none(value, expected):
    assert read_expected_s({"estimated_time_seconds": value}) == expected
    assert read_expected_s({}) is None


@pytest.mark.parametrize(
    "metadata", [None, [], "x", {}, {"available_fields": []}, {"available_fields": {}}], ids=repr
)
async def test_a_workflow_that_lists_nothing_is_warned_of_once(world, ok, caplog, metadata):
    here = world(ok({"workflow_id": "w", "metadata": metadata}))
    for _ in range(3):
        assert not (await here.gateway.workflow("w")).fields
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "workflow w does not list its parameters; they are sent unchecked"
    ]


async def test_a_workflow_says_what_it_takes(world, ok):
    metadata = {
        "available_fields": ["prompt.text"],
        "estimated_time_seconds": 7.5,
        "price": {"x": [1, None]},
    }
    workflow = await world(ok({"workflow_id": "w-1.1", "metadata": metadata})).gateway.workflow(
        "w-1.1"
    )
    assert (workflow.workflow_id, workflow.fields, workflow.expected_s) == (
        "w-1.1",
        ("prompt.text",),
        7.5,
    )


@each_case(
    "timestamp, expected",
    [
        ("1970-01-01T00:00:01Z", 1.0), ("1970-01-01T02:00:01+02:00", 1.0),
        ("1970-01-01T00:00:01", 1.0), ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None), ("9999-12-31T23:59:59-14:00", None),
        ("yesterday", None), ("", None),
    ],
)  # fmt: skip
def test_a_time_is_one_that_has_a_date_in_each_time_zone_or_none(timestamp, expected):
    assert _seconds(timestamp) == expected


async def test_the_ledgers_entries_come_whole_with_the_texts_of_fields_that_we_dont_know(world, ok):
    raw = {
        "id": "e1",
        "entry_type": "upload",
        "status": "settled",
        "amount": -0.5,
        "created_at": "2026-01-02T03:04:05.5Z",
    }
    known = {**raw, "asset_id": "as-1", "ref": {"asset": "as-2", "n": 1}, "n": 7}
    odd = {"amount": 2, "created_at": "soon", "job_id": "", "description": None}
    naive = {"amount": 2, "created_at": "1970-01-01T00:01:00", "job_id": "j"}
    data = {"balance": 10, "reserved": 1, "available": 9, "recent_entries": [known, odd, naive]}
    first, second, third = (await world(ok(data)).gateway.account()).entries
    assert first == LedgerEntry(
        "e1", "upload", Decimal("-0.5"), 1767323045.5, None, "settled", "", ("as-1", "as-2")
    )
    assert second == LedgerEntry("", "", Decimal(2))
    assert (third.at, third.job_id) == (60.0, "j")


async def test_a_submission_keeps_what_money_depends_on(world, ok, reply, good_data):
    raw = b'{"success":true,"data":{"job_id":"j-1","status":"queued","requested_credits":0.1}}'
    submission = await world(reply(202, raw=raw)).gateway.submit("w", {"a": 1}, key="k")
    assert (submission.job_id, submission.credits, submission.existing) == (
        "j-1",
        Decimal("0.1"),
        False,
    )
    assert (await world(ok(good_data("generate"), 200)).gateway.submit("w", {}, key="k")).existing


@each_case(
    "word, status",
    [(status.value, status) for status in JobStatus]
    + [(word, JobStatus.UNKNOWN) for word in ("cancelled", "", "SUCCEEDED", None, 5, [])],
)
async def test_a_status_is_known_or_unknown(world, ok, good_data, word, status):
    data = {**good_data("job"), "status": word}
    assert (await world(ok(data)).gateway.job(data["job_id"])).status is status


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        ("OOM", "out of memory", ErrorInfo("OOM", "out of memory")),
        (
            None,
            None,
            ErrorInfo("JOB_FAILED", "the gateway reports the job as failed, without a message"),
        ),
        ("", "why", ErrorInfo("JOB_FAILED", "why")),
        (7, "x\x1b[31my\n", ErrorInfo("JOB_FAILED", "xy")),
    ],
)
async def test_a_failed_job_has_an_error(world, ok, good_data, code, message, expected):
    data = {**good_data("job"), "status": "failed", "error_code": code, "error_message": message}
    assert (await world(ok(data)).gateway.job(data["job_id"])).error == expected


async def test_a_job_that_hasnt_failed_has_none(world, ok, good_data):
    assert (await world(ok(good_data("job"))).gateway.job(good_data("job")["job_id"])).error is None


async def test_outputs_are_in_the_order_of_their_index(world, ok, good_data):
    outputs = [
        {"output_index": 2, "url": "u2"},
        {"output_index": 0, "url": None},
        {"output_index": 1, "url": 5},
    ]
    data = {**good_data("job"), "status": "succeeded", "outputs": outputs}
    job = await world(ok(data)).gateway.job(data["job_id"])
    assert job.outputs == (OutputLink(0, None), OutputLink(1, None), OutputLink(2, "u2"))


async def numbers_by_url(world, ok, good_data, *outputs):
    shown = [{"id": each, "output_index": index, "url": url} for each, index, url in outputs]
    job = await world(ok({**good_data("job"), "outputs": shown})).gateway.job(
        good_data("job")["job_id"]
    )
    return {link.url: link.index for link in job.outputs}


async def test_outputs_that_share_an_index_get_numbers_of_their_own_that_last(world, ok, good_data):
    two = await numbers_by_url(world, ok, good_data, ("b", 0, "ub"), ("a", 0, "ua"))
    three = await numbers_by_url(
        world, ok, good_data, ("a", 0, "ua"), ("0", 0, "u0"), ("b", 0, "ub"), ("c", 1, "uc")
    )
    assert list(two) == ["ua", "ub"]
    assert len(set(three.values())) == 4
    assert two.items() <= three.items()
    assert three["uc"] == 1


async def test_an_output_that_is_listed_twice_keeps_its_number(world, ok, good_data):
    found = await numbers_by_url(
        world, ok, good_data, ("a", 0, "ua?t=1"), ("b", 1, "ub"), ("a", 0, "ua?t=2")
    )
    assert found == {"ua?t=1": 0, "ub": 1}


async def test_outputs_without_an_id_that_share_an_index_count_up(world, ok, good_data):
    found = await numbers_by_url(
        world, ok, good_data, ("", 0, "u"), ("", 0, "v"), ("x", 5, "w"), ("x", 5, "y")
    )
    assert list(found) == ["u", "v", "w", "y"]
    assert len(set(found.values())) == 4


async def test_a_huge_list_of_outputs_is_cut(world, ok, good_data, caplog):
    outputs = [{"output_index": index} for index in range(5_000)]
    job = await world(ok({**good_data("job"), "outputs": outputs})).gateway.job(
        good_data("job")["job_id"]
    )
    assert [output.index for output in job.outputs] == list(range(64))
    assert "5000 outputs" in caplog.text


async def test_an_asset_shows_what_we_wrote_into_its_metadata(world, ok):
    ours = {
        "asset_id": "a1",
        "status": "ready",
        "byte_size": 3,
        "metadata": {"cb_sha256": "x", "cb_nonce": "n"},
    }
    others = {"asset_id": "a2", "status": "odd", "byte_size": None, "metadata": None}
    wrong = {"asset_id": "a3", "status": "deleted", "metadata": {"cb_sha256": 5, "cb_nonce": ["n"]}}
    first, second, third = await world(ok({"assets": [ours, others, wrong]})).gateway.assets()
    assert (first.status, first.byte_size, first.sha256, first.nonce) == (
        AssetStatus.READY,
        3,
        "x",
        "n",
    )
    assert (second.status, second.byte_size, second.sha256) == (AssetStatus.UNKNOWN, 0, None)
    assert (third.status, third.sha256, third.nonce) == (AssetStatus.DELETED, None, None)


async def test_an_intent_carries_the_digest_and_the_nonce(world, ok, good_data):
    here = world(ok(good_data("create_asset"), 201))
    intent = await here.gateway.create_asset(SPEC, nonce="n-1")
    assert json.loads(here.requests[0].content) == {
        "mime_type": "image/png",
        "byte_size": 3,
        "filename": "cat.png",
        "metadata": {"cb_sha256": SPEC.sha256, "cb_nonce": "n-1"},
    }
    assert (intent.asset_id, intent.credits) == (good_data("create_asset")["asset_id"], 1)
    assert "sig" not in repr(intent)


@pytest.mark.parametrize("content", [b"", b"no", b"four"])
async def test_bytes_of_another_length_than_declared_are_not_sent(world, reply, content):
    here = world(reply(200))
    with pytest.raises(GatewayError) as caught:
        await here.gateway.upload(
            UploadIntent("a", "https://s.test/u?sig=1", Decimal(1)), SPEC, content
        )
    assert (caught.value.code, here.requests) == ("BAD_REQUEST", [])


async def test_a_rebate_is_returned_and_0_where_the_asset_was_gone(world, ok, failed, good_data):
    asset_id = good_data("delete_asset")["asset_id"]
    assert await world(ok(good_data("delete_asset"))).gateway.delete_asset(asset_id) == 1
    assert await world(failed(404, "ASSET_NOT_FOUND")).gateway.delete_asset(asset_id) == 0


async def test_open_gateway_builds_the_stack_and_closes_it(ok, good_data):
    closed = []

    class Transport(httpx.MockTransport):
        async def aclose(self) -> None:
            closed.append(self)

    transport = Transport(lambda _: ok(good_data("credits"))())
    async with open_gateway(
        "https://crucible.test", "key", transport=transport, retry=RetryPolicy()
    ) as gateway:
        assert (await gateway.account()).available == 9
        assert closed == []
    assert closed
