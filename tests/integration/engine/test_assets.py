"""Each distinct image once: uploads counted, shared, found again, and never lost from the books."""

from __future__ import annotations

import asyncio
import hashlib
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


async def test_the_same_bytes_under_two_names_are_one_image(start):
    async with start() as bench:
        work = edits(1, bench.picture("a.png")) + "\n" + f"{{name: b, prompt: other, {EDIT}: {bench.picture('b.png')}}}"
        result = await bench.run(bench.manifest(work))
        state = await bench.agree(result)
    assert sum(state["uploads"].values()) == 1


async def test_images_are_counted_in_the_budget_with_their_jobs(start, tally):
    """Two jobs with an image each cost 7; one credit less buys one pair, and no image for a job that doesn't fit."""
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
        result = await bench.run(bench.manifest(edits(2)), run_id="second", out_dir=bench.path / "second")
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
        await bench.http.delete(f"{bench.running.api_url}/api/v1/assets/{asset['asset_id']}", headers=headers)
        result = await bench.run(bench.manifest(edits(2), budget="7"))
        state = await bench.agree(result)
    assert result.exit_code == 0
    assert len(state["assets"]) == 2
    assert result.report.credits.spent == 7


@pytest.mark.parametrize(
    "fault", ["drop-after=1", "500-after=1", "html=1", "empty=1", "drop-before=1", "500-before=1", "slow=1", "429=2"]
)
async def test_an_intent_whose_answer_was_lost_is_found_or_bought_again_and_nothing_is_lost_from_the_books(
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


async def test_a_lost_intent_of_a_second_image_is_given_back(start, tally):
    """The price is known by then, so it may be booked at once; that it cost no more nobody says."""
    async with start() as bench:
        bench.picture("a.png", "red")
        bench.picture("b.png", "blue")
        await bench.run(bench.manifest(edits(1), budget=20))
        await bench.configure(faults="asset-create.drop-after=1")
        work = edits(1) + f"\n{{name: b, prompt: other, {EDIT}: b.png}}"
        result = await bench.run(bench.manifest(work, budget=20))
        await bench.agree(result, never_named=15 * Decimal("0.5"))
    assert result.exit_code == 0
    assert result.report.credits.rebates == Decimal("0.5")


async def test_an_intent_in_doubt_is_not_bought_again_while_the_list_is_out_of_order(start, tampered, tally):
    """The answer is lost, and the list that would show the intent fails: nobody may buy it anew in this run."""
    broken = False

    async def tamper(request: httpx.Request, send):
        nonlocal broken
        if request.url.path.endswith("/assets") and request.method == "POST" and not broken:
            await (await send()).aread()
            broken = True
            raise httpx.ReadError("lost")
        if broken and request.url.path.endswith("/assets") and request.method == "GET":
            return httpx.Response(400, json={"success": False, "code": "ODD", "error": "not today"})
        return await send()

    async with start() as bench:
        bench.picture("a.png")
        first = await bench.run(bench.manifest(edits(3), budget=20), transport=tampered(tamper))
        assert len((await bench.state())["assets"]) == 1
        assert first.exit_code == 5
        result = await bench.run(bench.manifest(edits(3), budget=20))
        await bench.agree(result)
    assert result.exit_code == 0
    assert tally(result) == {"succeeded": 3}


async def test_an_upload_that_the_storage_refuses_is_given_back_and_bought_once_more(start, tampered):
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


async def test_an_upload_that_is_always_refused_ends_in_failed_jobs_and_no_loop(start, tampered, tally):
    async def tamper(request: httpx.Request, send):
        return httpx.Response(403) if request.method == "PUT" else await send()

    async with start() as bench:
        bench.picture("a.png")
        result = await bench.run(bench.manifest(edits(2), budget=10), transport=tampered(tamper))
        state = await bench.agree(result)
    assert result.exit_code == 1
    assert tally(result) == {"failed": 2}
    assert len(state["assets"]) == 2
    assert result.report.credits.spent == 0


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
async def test_an_upload_that_the_account_can_not_pay_blocks_its_jobs_and_fails_none(start, tampered, tally, code):
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


async def test_uploads_more_expensive_than_the_budget_leaves_are_not_followed_by_jobs_that_do_not_fit(start, tally):
    async with start(upload_price=Decimal(3)) as bench:
        bench.picture("a.png")
        result = await bench.run(bench.manifest(edits(1), budget="5"))
        await bench.agree(result)
    assert result.exit_code in (0, 4)
    assert result.report.credits.spent == 3 + 3 * (result.exit_code == 0)
    assert result.report.credits.over_budget <= 1  # the price of a first job is not known before its answer


async def test_a_job_whose_image_the_gateway_does_not_take_keeps_no_credits_from_the_others(start, tampered):
    async def tamper(request: httpx.Request, send):
        busy = request.method == "POST" and request.url.path.endswith("/assets")
        return httpx.Response(429) if busy else await send()

    async with start() as bench:
        bench.picture("a.png")
        jobs = "{name: e, prompt: edit, workflow: qwen-edit, image: a.png}\n{name: t, prompt: one}"
        result = await bench.run(bench.manifest(jobs, budget="3.5"), transport=tampered(tamper))
        await bench.agree(result)
    assert {row.name: row.status for row in result.jobs()} == {"e": "pending", "t": "succeeded"}
    assert result.exit_code == 5
    assert result.report.credits.held == 0


@pytest.mark.parametrize("when", ["in-this-run", "in-the-next-run"])
async def test_a_lost_intent_is_known_by_its_nonce_and_another_of_the_same_picture_is_left_alone(start, tampered, when):
    """Another run directory's upload of the same picture is pending: it is that one's to send, or to give back."""
    async with start() as bench:
        content = (bench.path / bench.picture("a.png")).read_bytes()
        metadata = {"cb_sha256": hashlib.sha256(content).hexdigest(), "cb_nonce": "another's"}
        theirs = {"mime_type": "image/png", "byte_size": len(content), "metadata": metadata}
        headers = {"authorization": f"Bearer {bench.running.api_key}"}
        url = f"{bench.running.api_url}/api/v1/assets"
        other = (await bench.http.post(url, json=theirs, headers=headers)).json()["data"]["asset_id"]
        task: asyncio.Task[object]

        async def lost(request: httpx.Request, send):
            if request.method == "POST" and request.url.path.endswith("/assets") and not sent:
                sent.append(request)
                if when == "in-the-next-run":
                    asyncio.get_running_loop().call_soon(task.cancel)
                    await asyncio.sleep(5)
                raise httpx.ReadError("lost")
            return await send()

        sent: list[httpx.Request] = []
        manifest = bench.manifest(edits(1), budget=20)
        task = asyncio.ensure_future(bench.run(manifest, transport=tampered(lost)))
        if when == "in-the-next-run":
            with pytest.raises(asyncio.CancelledError):
                await task
            result = await bench.run(manifest)
        else:
            result = await task
        assets = {asset["asset_id"]: asset for asset in (await bench.state())["assets"]}
    assert result.exit_code == 0
    assert assets[other]["deleted_at"] is None
    assert len(assets) == 2
