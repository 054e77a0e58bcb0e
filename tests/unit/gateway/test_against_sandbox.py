"""The whole stack against the project's sandbox, which shares no code with it: both read the
contract alike.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from PIL import Image

from crucible_batch.core.gateway_types import AssetSpec, JobSnapshot, JobStatus
from crucible_batch.errors import GatewayError
from crucible_batch.gateway import CrucibleClient, HttpGateway, open_gateway
from crucible_batch.sandbox import SandboxConfig, parse_faults, serve


@asynccontextmanager
async def sandbox(waiting, faults: str = "", **config) -> AsyncIterator[HttpGateway]:
    setup = SandboxConfig(time_scale=0, ready_after_s=0, faults=parse_faults(faults), **config)
    async with (
        serve(setup) as running,
        open_gateway(running.api_url, running.api_key, retry=waiting.retrier()) as gateway,
    ):
        yield gateway


async def finished(gateway: HttpGateway, job_id: str) -> JobSnapshot:
    for _ in range(100):
        job = await gateway.job(job_id)
        if job.status in (JobStatus.SUCCEEDED, JobStatus.FAILED):
            return job
    raise AssertionError("not finished")


@pytest.fixture(scope="module")
def png() -> tuple[AssetSpec, bytes]:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "navy").save(buffer, "PNG")
    content = buffer.getvalue()
    return AssetSpec(
        hashlib.sha256(content).hexdigest(), len(content), "image/png", "navy.png"
    ), content


async def test_all_ten_operations_are_understood(png):
    spec, content = png
    async with (
        serve(SandboxConfig(time_scale=0)) as running,
        CrucibleClient(running.api_key, base_url=running.api_url) as client,
    ):
        assert (await client.health()).status == "ok"
        assert (await client.credits()).available == 1000
        for workflow in await client.workflows():
            assert (await client.workflow(workflow.workflow_id)).metadata
        made = await client.create_asset(
            mime_type=spec.mime_type, byte_size=len(content), metadata={"x": "y"}
        )
        assert (await client.asset(made.asset_id)).metadata == {"x": "y"}
        assert [asset.asset_id for asset in await client.assets()] == [made.asset_id]
        assert (await client.delete_asset(made.asset_id)).credit_rebate == made.credits_charged
        job = await client.generate("zimage-base", {}, idempotency_key="k-1")
        assert not job.existing
        assert (await client.job(job.job_id)).workflow_id == "zimage-base"
        assert {entry.job_id for entry in (await client.credits()).recent_entries} >= {job.job_id}


@pytest.mark.parametrize(
    "kind",
    [
        "429",
        "429-date",
        "503-before",
        "500-before",
        "500-after",
        "drop-before",
        "drop-after",
        "html",
        "empty",
    ],
)
async def test_a_submit_survives_whatever_happens_to_its_answer(waiting, kind):
    async with sandbox(waiting, f"generate.{kind}=2") as gateway:
        job = await gateway.submit("zimage-base", {}, key="k-1")
        took_effect = kind in ("500-after", "drop-after", "html", "empty")
        assert job.existing is took_effect
        assert len(waiting.notices) == 2
        account = await gateway.account()
        assert account.balance + account.reserved <= 1000
        await finished(gateway, job.job_id)
        assert (await gateway.account()).balance == 1000 - job.credits


@pytest.mark.parametrize(
    ("kind", "bought"), [("drop-after", True), ("500-after", True), ("drop-before", False)]
)
async def test_an_intent_whose_answer_is_lost_is_in_doubt_and_found_by_its_nonce(
    waiting, png, kind, bought
):
    spec, _ = png
    async with sandbox(waiting, f"asset-create.{kind}=1") as gateway:
        with pytest.raises(GatewayError) as caught:
            await gateway.create_asset(spec, nonce="n-1")
        assert caught.value.in_doubt
        assert ("n-1" in [asset.nonce for asset in await gateway.assets()]) is bought


async def test_refusals_have_the_contracts_codes(waiting):
    async with sandbox(waiting, accounts={"moltazine_poor": Decimal(0)}) as gateway:
        wanted = [
            (gateway.submit("zimage-base", {}, key="k"), "INSUFFICIENT_CREDITS", 402),
            (gateway.submit("no-such", {}, key="k"), "WORKFLOW_NOT_FOUND", 404),
            (gateway.workflow("no-such"), "WORKFLOW_NOT_FOUND", 404),
            (gateway.job("11111111-1111-4111-8111-111111111111"), "JOB_NOT_FOUND", 404),
            (gateway.asset("11111111-1111-4111-8111-111111111111"), "ASSET_NOT_FOUND", 404),
        ]
        for call, code, status in wanted:
            with pytest.raises(GatewayError) as caught:
                await call
            assert (caught.value.code, caught.value.status, caught.value.in_doubt) == (
                code,
                status,
                False,
            )
