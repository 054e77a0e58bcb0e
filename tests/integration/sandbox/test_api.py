"""The API over real HTTP: answers, refusals, money on the wire."""

from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.harness.case_table import each_case

UNKNOWN = "7f0c3b7e-1111-4222-8333-444455556666"


def failure(response: httpx.Response) -> str:
    """Check that a refusal has the contract's shape; gives its status and code."""
    body = response.json()
    assert body.keys() - {"hint"} == {"success", "code", "error", "request_id"}
    assert body["success"] is False
    return f"{response.status_code} {body['code']}"


async def test_health_needs_no_key(client: Any) -> None:
    response = await client.storage.get(f"{client.running.api_url}/api/health")
    assert response.json() == {"success": True, "data": {"status": "ok"}}


@pytest.mark.parametrize(
    "header",
    [{}, {"authorization": "Bearer moltazine_other"}, {"authorization": "Basic moltazine_sandbox"}],
)
async def test_all_else_needs_one(client: Any, header: dict[str, str]) -> None:
    for method, path in (
        ("GET", "/api/v1/credits"),
        ("GET", "/api/v1/workflows"),
        ("GET", "/api/v1/workflows/zimage-base/metadata"),
        ("GET", "/api/v1/assets"),
        ("POST", "/api/v1/assets"),
        ("GET", f"/api/v1/assets/{UNKNOWN}"),
        ("DELETE", f"/api/v1/assets/{UNKNOWN}"),
        ("POST", "/api/v1/generate"),
        ("GET", f"/api/v1/jobs/{UNKNOWN}"),
    ):
        response = await client.storage.request(
            method, client.running.api_url + path, headers=header
        )
        assert failure(response) == "401 UNAUTHORIZED", (method, path)


async def test_a_job_from_submit_to_output(client: Any) -> None:
    response = await client.generate(
        "zimage-sheet", "k1", prompt__text="two birds", size__width=128, size__height=96
    )
    assert response.status_code == 202
    accepted = response.json()["data"]
    assert (accepted["status"], accepted["requested_credits"]) == ("queued", 3.5)
    job = await client.get(f"/api/v1/jobs/{accepted['job_id']}")
    assert (job["status"], job["error_code"], job["workflow_id"]) == (
        "succeeded",
        None,
        "zimage-sheet",
    )
    assert [output["output_index"] for output in job["outputs"]] == [0, 1]
    for output in job["outputs"]:
        assert (output["mime_type"], output["width"], output["height"]) == ("image/png", 128, 96)
        picture = await client.storage.get(output["url"])
        assert picture.headers["content-type"] == "image/png"
        assert int(picture.headers["content-length"]) == len(picture.content)
    credits = await client.get("/api/v1/credits")
    assert credits["balance"] == Decimal("996.5")
    assert [entry["entry_type"] for entry in credits["recent_entries"]] == [
        "consume",
        "reserve",
        "grant",
    ]
    assert {entry["job_id"] for entry in credits["recent_entries"][:2]} == {job["job_id"]}


async def test_credits_are_written_as_exact_numbers(start: Any) -> None:
    async with start(
        accounts={"a": Decimal("1.0")}, prices={"zimage-sketch": Decimal("0.1")}
    ) as client:
        for number in range(3):
            await client.generate("zimage-sketch", f"k{number}")
        response = await client.api.get("/api/v1/credits")
        assert '"balance":0.7,"reserved":0,"available":0.7,' in response.text
        for number in range(3, 10):
            assert (await client.generate("zimage-sketch", f"k{number}")).status_code == 202
        assert failure(await client.generate("zimage-sketch", "k10")) == "402 INSUFFICIENT_CREDITS"


async def test_available_fields_come_in_every_known_form(client: Any) -> None:
    listed = [row["workflow_id"] for row in (await client.get("/api/v1/workflows"))["workflows"]]
    fields = {}
    for workflow_id in listed:
        metadata = (await client.get(f"/api/v1/workflows/{workflow_id}/metadata"))["metadata"]
        assert metadata["estimated_time_seconds"] > 0
        fields[workflow_id] = metadata.get("available_fields")
    assert "prompt.text" in fields["zimage-base"]
    assert "image.image" in [field["name"] for field in fields["qwen-edit"]]
    assert isinstance(fields["upscale-2x"], dict)
    assert fields["zimage-sketch"] is None


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v1/workflows/nope/metadata", "404 WORKFLOW_NOT_FOUND"),
        (f"/api/v1/assets/{UNKNOWN}", "404 ASSET_NOT_FOUND"),
        ("/api/v1/assets/nope", "404 ASSET_NOT_FOUND"),
        (f"/api/v1/jobs/{UNKNOWN}", "404 JOB_NOT_FOUND"),
        ("/api/v1/jobs/..%2Fcredits", "404 NOT_FOUND"),
        ("/api/v1/credits/", "404 NOT_FOUND"),
        ("/", "404 NOT_FOUND"),
    ],
)
async def test_what_is_not_there_is_not_found(client: Any, path: str, code: str) -> None:
    assert failure(await client.api.get(path)) == code


@each_case("path", ["/api/v1/generate", "/api/v1/assets"])
@each_case(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"[" * 10_000,
        b"\xff\xfe",
        b'{"workflow_id": NaN}',
        b"1e9999999999999999999",
    ],
)
async def test_a_broken_body_is_a_400(client: Any, path: str, content: bytes) -> None:
    response = await client.api.post(
        path, content=content, headers={"content-type": "application/json"}
    )
    assert failure(response) == "400 INVALID_REQUEST"


@pytest.mark.parametrize(
    "body",
    [
        {"params": {}},
        {"workflow_id": "zimage-base"},
        {"workflow_id": "", "params": {}},
        {"workflow_id": 5, "params": {}},
        {"workflow_id": "zimage-base", "params": []},
        {"workflow_id": "zimage-base", "params": {}, "idempotency_key": ""},
        {"workflow_id": "zimage-base", "params": {}, "idempotency_key": None},
        {"workflow_id": "zimage-base", "params": {}, "idempotency_key": "x" * 129},
        {"workflow_id": "zimage-base", "params": {}, "idempotency_key": 7},
    ],
)
async def test_a_generation_of_the_wrong_shape_is_a_400(client: Any, body: object) -> None:
    assert failure(await client.api.post("/api/v1/generate", json=body)) == "400 INVALID_REQUEST"


@each_case(
    "body, code",
    [
        ({"mime_type": "image/png"}, "INVALID_REQUEST"),
        ({"byte_size": 1}, "INVALID_REQUEST"),
        ({"mime_type": "image/png", "byte_size": 0}, "INVALID_REQUEST"),
        ({"mime_type": "image/png", "byte_size": "1"}, "INVALID_REQUEST"),
        ({"mime_type": "image/png", "byte_size": True}, "INVALID_REQUEST"),
        ({"mime_type": "image/" + "x" * 123, "byte_size": 1}, "INVALID_REQUEST"),
        ({"mime_type": "image/png", "byte_size": 1, "filename": ""}, "INVALID_REQUEST"),
        ({"mime_type": "image/png", "byte_size": 1, "filename": "x" * 256}, "INVALID_REQUEST"),
        ({"mime_type": "image/png", "byte_size": 1, "metadata": []}, "INVALID_REQUEST"),
        ({"mime_type": "text/plain", "byte_size": 1}, "UNSUPPORTED_ASSET_TYPE"),
        ({"mime_type": "image/png", "byte_size": 10**30}, "ASSET_TOO_LARGE"),
    ],
)
async def test_an_intent_of_the_wrong_shape_is_a_400(client: Any, body: object, code: str) -> None:
    assert failure(await client.api.post("/api/v1/assets", json=body)) == f"400 {code}"


async def test_params_come_back_as_they_were_sent(client: Any) -> None:
    seed = 2**64 - 1
    await client.generate(
        "qwen-edit",
        "k",
        strength__value=0.1,
        sampler__seed=seed,
        prompt__value="e\u0301 \U0001f426",
    )
    params = (await client.state())["jobs"][0]["params"]
    assert params == {
        "strength.value": Decimal("0.1"),
        "sampler.seed": seed,
        "prompt.value": "e\u0301 \U0001f426",
    }


JOB = "job_id status workflow_id requested_credits error_code error_message outputs"
OUTPUT = (
    "id job_id output_index storage_provider bucket path url mime_type width "
    "height metadata created_at"
)
ASSET = (
    "asset_id status mime_type byte_size bucket object_path original_filename metadata created_at"
    " upload_expires_at download_url"
)


async def test_each_answer_has_the_fields_of_the_contract(client: Any, picture: Any) -> None:
    """The names are this table's own reading of contract 1.0.0."""
    intent = await client.intend(picture())
    await client.put(intent, picture())
    asset = await client.get(f"/api/v1/assets/{intent['asset_id']}")
    assert (await client.storage.get(asset["download_url"])).content == picture()
    submitted = (await client.generate("zimage-base", "k", prompt__text="x")).json()
    job = await client.get(f"/api/v1/jobs/{submitted['data']['job_id']}")
    credits = await client.get("/api/v1/credits")
    workflows = await client.get("/api/v1/workflows")
    metadata = await client.get("/api/v1/workflows/zimage-base/metadata")
    deleted = (await client.api.delete(f"/api/v1/assets/{intent['asset_id']}")).json()
    for found, fields in (
        (submitted, "success data request_id"),
        (submitted["data"], "job_id status requested_credits"),
        (job, JOB),
        (job["outputs"][0], OUTPUT),
        (credits, "balance reserved available recent_entries"),
        (credits["recent_entries"][0], "id job_id entry_type status amount description created_at"),
        (workflows["workflows"][0], "workflow_id updated_at"),
        (metadata, "workflow_id metadata"),
        (
            intent,
            "asset_id bucket object_path upload_url upload_token upload_expires_at credits_charged",
        ),
        (asset, ASSET),
        (deleted["data"], "asset_id deleted credit_rebate"),
    ):
        assert found.keys() == set(fields.split())
