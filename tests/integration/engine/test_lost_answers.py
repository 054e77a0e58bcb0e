"""Answers to uploads that are lost: what is limited is what is spent in vain, and not how often the
line was cut.
"""

from __future__ import annotations

from decimal import Decimal

import httpx
import pytest

EDITS = "\n".join(
    f"{{name: e{n}, prompt: 'edit {n}', workflow: qwen-edit, image: a.png}}" for n in range(2)
)
CEILINGS = "budget: {{credits: {}, max_credits_per_job: 3, max_credits_per_upload: 1}}\n"


async def knows_the_price(bench):
    """Another image is uploaded first, so that an answer has named the price."""
    bench.picture("b.png", "blue")
    await bench.run(
        bench.manifest("{name: b, prompt: other, workflow: qwen-edit, image: b.png}", budget=400)
    )


@pytest.mark.parametrize("cuts", [1, 2, 3, 6, 12])
async def test_an_image_whose_answers_are_lost_and_given_back_is_uploaded_in_the_end(
    start, tally, cuts
):
    """Each was found in the list and given back: nothing was spent in vain."""
    async with start(faults=f"asset-create.drop-after={cuts}") as bench:
        bench.picture("a.png")
        result = await bench.run(bench.manifest(EDITS, budget=None, head=CEILINGS.format(50)))
        state = await bench.agree(result, never_named=cuts * Decimal("0.5"))
    assert (result.exit_code, tally(result)) == (0, {"succeeded": 2})
    assert len(state["assets"]) == cuts + 1
    assert state["audit"]["spent_on_uploads"] == Decimal("0.5")


@pytest.mark.parametrize("cuts", [2, 3, 6])
async def test_so_it_is_where_the_price_is_known_and_none_is_declared(start, tally, cuts):
    """Each stays held at its bound, 16 times the price: so much more may have been charged than
    came back.
    """
    async with start() as bench:
        await knows_the_price(bench)
        await bench.configure(faults=f"asset-create.drop-after={cuts}")
        bench.picture("a.png")
        result = await bench.run(bench.manifest(EDITS, budget=400))
        state = await bench.agree(result, never_named=cuts * 15 * Decimal("0.5"))
    assert (result.exit_code, tally(result)) == (0, {"succeeded": 2})
    assert state["audit"]["spent_on_uploads"] == 1


@pytest.mark.parametrize("share", ["0", "0.5"])
async def test_two_that_were_not_given_back_in_full_are_enough(start, tally, share):
    async with start(rebate_share=Decimal(share)) as bench:
        await knows_the_price(bench)
        await bench.configure(faults="asset-create.drop-after=99")
        bench.picture("a.png")
        result = await bench.run(bench.manifest(EDITS, budget=400))
        state = await bench.state()
        (error,) = {row.error.message for row in result.jobs()}
    assert (result.exit_code, tally(result)) == (1, {"failed": 2})
    assert state["audit"]["spent_on_uploads"] == Decimal("0.5") + 2 * (
        1 - Decimal(share)
    ) * Decimal("0.5")
    back = {"0": "0", "0.5": "0.5"}[share]
    assert error == (
        "a.png was uploaded 2 times and is not ready: the answers to 2 were lost, "
        f"so their cost is unknown; {back} were refunded"
    )


async def test_an_image_whose_answers_never_come_is_not_uploaded_forever(start, tally):
    async with start(faults="asset-create.drop-after=99") as bench:
        bench.picture("a.png")
        result = await bench.run(bench.manifest(EDITS, budget=None, head=CEILINGS.format(400)))
        state = await bench.agree(result, never_named=Decimal(20))
        (error,) = {row.error.message for row in result.jobs()}
    assert (result.exit_code, tally(result)) == (1, {"failed": 2})
    assert (len(state["assets"]), state["audit"]["spent_on_uploads"]) == (20, 0)
    assert "uploaded 20 times" in error
    assert "10 were refunded" in error


async def test_they_hold_no_more_than_half_of_the_budget_and_the_other_jobs_are_done(start, tally):
    async with start(faults="asset-create.drop-after=99") as bench:
        bench.picture("a.png")
        jobs = f"{EDITS}\n{{name: t, prompt: text}}"
        result = await bench.run(bench.manifest(jobs, budget=None, head=CEILINGS.format(20)))
        state = await bench.agree(result, never_named=Decimal(10))
        failed = next(row.error for row in result.jobs() if row.error)
        tallied = tally(result)
        await bench.configure(faults="")
        again = await bench.run(
            bench.manifest(EDITS, budget=None, head=CEILINGS.format(20)), retry_failed=True
        )
    assert tallied == {"failed": 2, "succeeded": 1}
    assert len(state["assets"]) == 10
    assert "max_credits_per_upload" in failed.hint
    assert again.exit_code == 0


async def test_jobs_without_any_price_are_blocked_until_a_ceiling_is_declared(start, tally):
    """The budget allows two uploads that nobody can count.

    The third waits for a ceiling: no job fails for good.
    """
    async with start(faults="asset-create.drop-after=3") as bench:
        bench.picture("a.png")
        result = await bench.run(bench.manifest(EDITS, budget=50))
        await bench.agree(result)
        tallied = tally(result)
        again = await bench.run(bench.manifest(EDITS, budget=None, head=CEILINGS.format(50)))
        await bench.agree(again, never_named=3 * Decimal("0.5"))
    assert (result.exit_code, tallied) == (4, {"blocked": 2})
    assert (again.exit_code, tally(again)) == (0, {"succeeded": 2})


async def test_a_free_gateway_whose_storage_is_cut_off_is_not_asked_forever(start, tampered):
    """An upload costs nothing and its bytes never arrive: each job takes it up again."""

    async def cut(request: httpx.Request, send):
        if request.method == "PUT":
            raise httpx.ReadError("cut")
        return await send()

    async with start(upload_price=Decimal(0)) as bench:
        bench.picture("a.png")
        result = await bench.run(bench.manifest(EDITS, budget=50), transport=tampered(cut))
        state = await bench.agree(result)
    assert not result.ok
    assert len(state["assets"]) <= 20
