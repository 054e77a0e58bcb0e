"""Each distinct image once: uploads counted, shared, found again, and never lost from the books."""

from __future__ import annotations

from decimal import Decimal

import httpx
import pytest

SHORT_JOBS = True

EDIT = "workflow: qwen-edit, image"


def edits(count: int, image: str = "a.png") -> str:
    return "\n".join(f"{{name: e{i}, prompt: 'edit {i}', {EDIT}: {image}}}" for i in range(count))


async def test_one_image_in_ten_jobs_is_uploaded_once(start, tally):
    async with start() as bench:
        bench.picture("a.png")
        result = await bench.run(bench.manifest(edits(10), budget="30.5"))
        state = await bench.agree(result)
    assert result.exit_code == 0
    assert tally(result) == {"succeeded": 10}
    assert list(state["uploads"].values()) == [1]
    assert result.report.credits.uploads == Decimal("0.5")


async def test_images_are_counted_in_the_budget_with_their_jobs(start, tally):
    """Two jobs with an image each cost 7; one credit less buys one pair, and no image for a job
    that doesn't fit."""
    async with start() as bench:
        bench.picture("a.png", "red")
        bench.picture("b.png", "blue")
        work = edits(1) + f"\n{{name: b, prompt: other, {EDIT}: b.png}}"
        short = await bench.run(bench.manifest(work, budget="6.9"))
        state = await bench.agree(short)
        assert short.exit_code == 4
        assert tally(short) == {"succeeded": 1, "blocked": 1}
        assert len(state["assets"]) == 1
        enough = await bench.run(bench.manifest(work, budget="7"))
        await bench.agree(enough)
    assert enough.exit_code == 0
    assert enough.report.credits.spent == 7


async def test_an_image_in_the_gateways_list_is_not_uploaded_again_by_another_run(start):
    async with start() as bench:
        bench.picture("a.png")
        await bench.run(bench.manifest(edits(1)))
        result = await bench.run(
            bench.manifest(edits(2)), run_id="second", out_dir=bench.path / "second"
        )
        state = await bench.state()
    assert result.exit_code == 0
    assert (result.report.credits.spent, result.report.credits.uploads) == (6, 0)
    assert len(state["assets"]) == 1


async def test_an_asset_that_a_user_deleted_since_is_uploaded_again(start):
    async with start(rebate_share=Decimal(0)) as bench:
        bench.picture("a.png")
        await bench.run(bench.manifest(edits(1), budget="7"))
        (asset,) = (await bench.state())["assets"]
        headers = {"authorization": f"Bearer {bench.running.api_key}"}
        await bench.http.delete(
            f"{bench.running.api_url}/api/v1/assets/{asset['asset_id']}", headers=headers
        )
        result = await bench.run(bench.manifest(edits(2), budget="7"))
        state = await bench.agree(result)
    assert result.exit_code == 0
    assert len(state["assets"]) == 2
    assert result.report.credits.spent == 7


@pytest.mark.parametrize(
    "fault",
    [
        "drop-after=1",
        "500-after=1",
        "html=1",
        "empty=1",
        "drop-before=1",
        "500-before=1",
        "slow=1",
        "429=2",
    ],
)
async def test_an_intent_without_an_answer_is_found_or_bought_again_and_stays_in_the_books(
    start, tally, fault
):
    async with start(faults=f"asset-create.{fault}") as bench:
        bench.picture("a.png")
        result = await bench.run(bench.manifest(edits(3), budget=20))
        state = await bench.state()
    assert result.exit_code == 0
    assert tally(result) == {"succeeded": 3}
    spent = state["audit"]["spent_on_jobs"] + state["audit"]["spent_on_uploads"]
    # What can't be resolved counts as spent: at most one upload.
    assert spent <= result.report.credits.spent <= spent + Decimal("0.5")
    if "after" in fault or fault in ("html=1", "empty=1", "slow=1", "429=2"):
        assert (result.report.credits.spent, result.report.credits.held) == (spent, 0)
    assert state["audit"]["problems"] == []
    assert len([asset for asset in state["assets"] if asset["deleted_at"] is None]) == 1


async def test_an_upload_that_the_storage_refuses_is_given_back_and_bought_once_more(
    start, tampered
):
    refused = 0

    async def tamper(request: httpx.Request, send):
        nonlocal refused
        if request.method == "PUT" and not refused:
            refused += 1
            return httpx.Response(403)
        return await send()

    async with start() as bench:
        bench.picture("a.png")
        result = await bench.run(bench.manifest(edits(1), budget=10), transport=tampered(tamper))
        state = await bench.agree(result)
    assert result.exit_code == 0
    assert len(state["assets"]) == 2
    assert result.report.credits.rebates == Decimal("0.5")


async def test_an_upload_that_never_becomes_ready_is_given_back(start, tally):
    async with start(faults="upload.never-ready=1") as bench:
        bench.picture("a.png")
        result = await bench.run(bench.manifest(edits(2), budget=10))
        await bench.agree(result)
    assert result.exit_code == 0
    assert tally(result) == {"succeeded": 2}


async def test_an_image_that_changed_since_it_was_planned_is_not_paid_for(start, tampered, tally):
    async with start() as bench:
        bench.picture("a.png", "red")

        async def tamper(request: httpx.Request, send):
            if request.url.path.endswith("/assets"):
                bench.picture("a.png", "green")
            return await send()

        result = await bench.run(bench.manifest(edits(2), budget=10), transport=tampered(tamper))
        state = await bench.agree(result)
        rows = list(result.jobs())
    assert result.exit_code == 1
    assert {row.error.code for row in rows} == {"INPUT_CHANGED"}
    assert state["assets"] == []
    assert state["jobs"] == []


@pytest.mark.parametrize("code", ["INSUFFICIENT_CREDITS", "PAY_UP"])
async def test_an_upload_that_the_account_can_not_pay_blocks_its_jobs_and_fails_none(
    start, tampered, tally, code
):
    async def tamper(request: httpx.Request, send):
        if request.url.path.endswith("/assets") and request.method == "POST":
            return httpx.Response(402, json={"success": False, "code": code, "error": "no"})
        return await send()

    async with start() as bench:
        bench.picture("a.png")
        result = await bench.run(bench.manifest(edits(2), budget=10), transport=tampered(tamper))
        await bench.agree(result)
        assert result.exit_code == 4
        assert tally(result) == {"blocked": 2}
        again = await bench.run(bench.manifest(edits(2), budget=10))
        await bench.agree(again)
    assert again.exit_code == 0
