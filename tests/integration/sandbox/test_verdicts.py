"""What the judge learns of a client over HTTP: only what was sent counts as told or downloaded."""

import contextlib
import json
from decimal import Decimal
from typing import Any

import httpx
import pytest


async def verdict(client: Any) -> Any:
    response = await client.storage.get(f"{client.running.api_url}/_sandbox/verdict")
    return json.loads(response.text, parse_float=Decimal)


async def faults(client: Any) -> list[str]:
    return [fault["kind"] for fault in (await verdict(client))["faults"]]


async def download(client: Any, job: Any) -> None:
    job = await client.get(f"/api/v1/jobs/{job['job_id']}")
    await client.storage.get(job["outputs"][0]["url"])


@pytest.mark.parametrize("fault", ["drop-after", "500-after", "html", "empty"])
async def test_a_job_whose_answer_was_lost_is_bought_twice_by_another_key(
    client: Any, fault: str
) -> None:
    await client.configure(faults=f"generate.{fault}=1")
    with contextlib.suppress(httpx.HTTPError):
        await client.generate("zimage-base", "first")
    await client.generate("zimage-base", "second")
    assert await faults(client) == ["bought-twice"]
    # The right thing to do, though late.
    await client.generate("zimage-base", "first")
    assert await faults(client) == []


@pytest.mark.parametrize("fault", ["short-body", "short-unsized", "error-page", "500-after"])
async def test_a_job_whose_download_was_cut_is_bought_twice_by_another_key(
    client: Any, fault: str
) -> None:
    first = await client.job("zimage-base", "first")
    second = await client.job("zimage-base", "second")
    await download(client, second)
    await client.configure(faults=f"download.{fault}=1")
    with contextlib.suppress(httpx.HTTPError):
        await download(client, first)
    assert await faults(client) == ["bought-twice"]
    await download(client, first)
    assert await faults(client) == []


async def test_a_key_of_another_job_is_a_hint(client: Any) -> None:
    await client.generate("zimage-base", "k", prompt__text="a fox")
    refused = await client.generate("zimage-base", "k", prompt__text="an owl")
    assert refused.json()["code"] == "IDEMPOTENCY_KEY_REUSED"
    hints = [hint["kind"] for hint in (await verdict(client))["hints"]]
    assert hints == ["not-downloaded", "key-of-another-job"]


async def test_the_verdict_has_the_amounts_of_the_ledger(start: Any, picture: Any) -> None:
    async with start(budget=Decimal("4.5")) as client:
        asset_id = await client.upload(picture())
        await client.generate("qwen-edit", "k", image__image=asset_id)
        told = await verdict(client)
        state = await client.state()
    assert told["charged_for_jobs"] == state["audit"]["spent_on_jobs"]
    assert told["charged_for_uploads"] == state["audit"]["spent_on_uploads"]
    assert told["most"] == told["charged_for_jobs"] + told["charged_for_uploads"]
    assert (told["budget"], told["faults"]) == (Decimal("4.5"), [])
