"""A submit was never answered, and meanwhile another client of the account has deleted its input
image.

The gateway may have bought the job or not: its hold stays, and the same key is sent with the
image's new asset.
"""

from __future__ import annotations

import json
from decimal import Decimal
from hashlib import sha256
from typing import Any

import httpx
import pytest

from tests.harness.bench import delete_images
from tests.harness.in_doubt import leave_in_doubt

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

EDIT = "{name: e, prompt: edit, workflow: qwen-edit, image: a.png}"
OTHER = "{name: o, prompt: another, workflow: qwen-edit, image: a.png}"


async def upload_elsewhere(bench) -> str:
    """Upload the image again, as another run directory does, and return its asset id."""
    image = (bench.path / "a.png").read_bytes()
    known = {"cb_sha256": sha256(image).hexdigest(), "cb_nonce": "another"}
    asset = {
        "filename": "a.png",
        "mime_type": "image/png",
        "byte_size": len(image),
        "metadata": known,
    }
    headers = {"Authorization": f"Bearer {bench.running.api_key}"}
    answer = await bench.http.post(
        f"{bench.running.api_url}/api/v1/assets", headers=headers, json=asset
    )
    intent = answer.json()["data"]
    stored = await bench.http.put(
        intent["upload_url"], content=image, headers={"Content-Type": "image/png"}
    )
    assert stored.status_code == 200, stored.text
    await bench.clock.sleep(10)
    return str(intent["asset_id"])


class Submits:
    """Keeps the bodies of all submits.

    ``tamper`` gives the answers in place of the gateway, or None.
    """

    def __init__(self, tamper: Any = None) -> None:
        self.bodies: list[Any] = []
        self._tamper = tamper

    async def __call__(self, request: httpx.Request, send):
        if not request.url.path.endswith("/generate"):
            return await send()
        self.bodies.append(json.loads(await request.aread()))
        answer = None if self._tamper is None else self._tamper(self.bodies[-1], request)
        return answer or await send()

    @property
    def assets(self) -> list[str]:
        return [body["params"]["image.image"] for body in self.bodies]

    @property
    def keys(self) -> list[str]:
        return [body["idempotency_key"] for body in self.bodies]


async def test_a_job_whose_image_is_gone_keeps_its_hold_and_is_bought_once_it_is_back(
    start, tampered
):
    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(EDIT)
        await leave_in_doubt(bench, tampered, manifest, answered=0, arrives=False)
        await delete_images(bench)
        for options in ({}, {"retry_failed": True, "resubmit_unknown": True}):
            result = await bench.run(manifest, **options)
            (row,) = result.jobs()
            assert (row.status, result.report.credits.held) == ("unknown", Decimal("99.5"))
            assert "an input image of this job was deleted" in row.error.hint
        here = await upload_elsewhere(bench)
        submits = Submits()
        result = await bench.run(manifest, transport=tampered(submits))
        state = await bench.state()
    assert (result.exit_code, result.report.credits.held) == (0, 0)
    assert (len(set(submits.keys)), submits.assets[1:]) == (1, [here])
    (job,) = state["jobs"]
    assert (job["idempotency_key"], result.report.credits.jobs) == (submits.keys[0], job["price"])
    assert result.report.credits.uploads == Decimal("0.5")  # its own, before


async def test_another_job_of_the_run_uploads_the_image_and_the_next_run_buys_the_job(
    start, tampered, tally
):
    async with start(rebate_share=Decimal(0)) as bench:
        bench.picture("a.png")
        head = "budget: {credits: 30, max_credits_per_job: 10, max_credits_per_upload: 1}\n"
        await leave_in_doubt(
            bench, tampered, bench.manifest(EDIT, budget=None, head=head), answered=0, arrives=False
        )
        await delete_images(bench)
        manifest = bench.manifest(f"{EDIT}\n{OTHER}", budget=None, head=head)
        first = await bench.run(manifest)
        assert tally(first) == {"succeeded": 1, "unknown": 1}
        result = await bench.run(manifest)
        state = await bench.agree(result)
    assert (tally(result), len(state["jobs"])) == ({"succeeded": 2}, 2)


async def test_a_job_that_was_bought_before_its_image_was_deleted_is_not_bought_again(
    start, tampered
):
    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(EDIT)
        await leave_in_doubt(bench, tampered, manifest, answered=0, arrives=True)
        await delete_images(bench)
        await upload_elsewhere(bench)
        submits = Submits()
        result = await bench.run(manifest, transport=tampered(submits))
        state = await bench.state()
    assert (result.exit_code, len(state["jobs"]), len(submits.bodies)) == (0, 1, 1)
    assert result.report.credits.jobs == state["jobs"][0]["price"]


async def test_a_bought_job_stays_unknown_if_the_gateway_looks_at_its_image_before_its_key(
    start, tampered
):
    """The refusal of the deleted asset proves nothing, and neither does that of the key with
    another asset."""
    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(EDIT)
        await leave_in_doubt(bench, tampered, manifest, answered=0, arrives=True)
        await delete_images(bench)
        here = await upload_elsewhere(bench)

        def no_such_asset(body: Any, request: httpx.Request) -> httpx.Response | None:
            if body["params"]["image.image"] == here:
                return None
            error = {"success": False, "code": "INVALID_PARAMS", "error": "no such asset"}
            return httpx.Response(400, json=error, request=request)

        submits = Submits(no_such_asset)
        result = await bench.run(manifest, transport=tampered(submits))
        (row,) = result.jobs()
        state = await bench.state()
    assert (row.status, row.error.code) == ("unknown", "IDEMPOTENCY_KEY_REUSED")
    assert "has reached the gateway" in row.error.hint
    assert (len(state["jobs"]), len(submits.bodies), len(set(submits.keys))) == (1, 2, 1)
    assert result.report.credits.held == Decimal("99.5")


async def test_an_unanswered_submit_with_the_image_of_another_client_is_found_by_the_next_run(
    start, tampered
):
    """The journal has the first asset only.

    The key is refused with it, and found with the other one.
    """
    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(EDIT)
        await leave_in_doubt(bench, tampered, manifest, answered=0, arrives=False)
        await delete_images(bench)
        here = await upload_elsewhere(bench)

        async def lose(request: httpx.Request, send):
            is_other = (
                request.url.path.endswith("/generate") and here.encode() in await request.aread()
            )
            answer = await send()
            if is_other:
                raise httpx.ReadError("lost")
            return answer

        first = await bench.run(manifest, transport=tampered(lose))
        assert [row.status for row in first.jobs()] == ["unknown"]
        assert first.report.credits.held == Decimal("99.5")
        result = await bench.run(manifest)
        state = await bench.state()
    assert (result.exit_code, len(state["jobs"]), result.report.credits.held) == (0, 1, 0)
    assert result.report.credits.jobs == state["jobs"][0]["price"]


async def test_a_submit_in_doubt_that_is_refused_for_another_reason_is_sent_once(start, tampered):
    def refuse(_body: Any, request: httpx.Request) -> httpx.Response:
        error = {"success": False, "code": "INVALID_PARAMS", "error": "no"}
        return httpx.Response(400, json=error, request=request)

    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(EDIT)
        await leave_in_doubt(bench, tampered, manifest, answered=0, arrives=False)
        submits = Submits(refuse)
        result = await bench.run(manifest, transport=tampered(submits))
        (row,) = result.jobs()
    assert (row.status, len(submits.bodies), result.report.credits.held) == (
        "unknown",
        1,
        Decimal("99.5"),
    )
    assert "deleted" not in (row.error.hint or "")
