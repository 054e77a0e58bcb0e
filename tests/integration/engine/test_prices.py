"""Prices that move: budgets that are exact, holds that a rise has outgrown, submits in doubt at another day's price."""

from __future__ import annotations

import asyncio
import itertools
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from crucible_batch.domain.events import Accepted, Prepared

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def texts(count: int) -> str:
    return "\n".join(f"{{name: j{i}, prompt: 'p {i}'}}" for i in range(count))


async def leave_in_doubt(bench, tampered, manifest: Path, *, accepted: int, in_doubt: int) -> None:
    """Have the first jobs accepted, and end while the submits of others are on their way and never arrive."""
    submits = itertools.count(1)

    async def hang(request: httpx.Request, send):
        if request.url.path.endswith("/generate") and (number := next(submits)) > accepted:
            if number == accepted + in_doubt:
                task.cancel()
            await asyncio.sleep(5)
        return await send()

    task = asyncio.ensure_future(bench.run(manifest, transport=tampered(hang), concurrency=24))
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_declared_ceiling_is_held_to_the_last_job_and_lowering_it_spends_the_rest(start, tally):
    """Two are left and the price is 2, but a job may cost 4: nothing that could exceed the budget is sent."""
    async with start() as bench:
        head = "budget: {{credits: 6, max_credits_per_job: {}}}\n"
        first = await bench.run(bench.manifest(texts(3), budget=None, head=head.format(4)))
        of_first = tally(first)
        again = await bench.run(bench.manifest(texts(3), budget=None, head=head.format(2)))
        await bench.agree(again)
    assert (first.exit_code, of_first) == (4, {"succeeded": 2, "blocked": 1})
    (stop,) = first.report.stops.values()
    assert stop.message == "4 of 6 credits used; the next job may cost up to 4, its declared ceiling"
    assert "lower budget.max_credits_per_job" in stop.hint
    assert (again.exit_code, tally(again)) == (0, {"succeeded": 3})
    assert (again.report.credits.spent, again.report.credits.over_budget) == (6, 0)


async def test_an_exact_budget_is_enough_for_a_run_that_was_killed_before_its_last_job(start, watcher, tally):
    async with start() as bench:
        manifest = bench.manifest(texts(3), budget=6, head="retry: {attempts: 1}\n")
        accepted = itertools.count(1)

        def look(message: object) -> None:
            if isinstance(getattr(message, "event", None), Accepted) and next(accepted) == 2:
                task.cancel()

        task = asyncio.ensure_future(bench.run(manifest, observer=watcher(look), concurrency=1))
        with pytest.raises(asyncio.CancelledError):
            await task
        result = await bench.run(manifest)
        await bench.agree(result)
    assert (result.exit_code, tally(result)) == (0, {"succeeded": 3})
    assert (result.report.credits.spent, result.report.credits.over_budget) == (6, 0)


async def test_an_exact_budget_is_enough_where_the_run_directory_is_lost(start, tally):
    async with start() as bench:
        await bench.run(bench.manifest(texts(2), budget=6))
        result = await bench.run(bench.manifest(texts(3), budget=6), out_dir=bench.path / "elsewhere")
        await bench.agree(result)
    assert (result.exit_code, tally(result)) == (0, {"succeeded": 3})
    assert (result.report.counts.reused, result.report.credits.spent) == (2, 6)


def edits(bench) -> str:
    for colour in ("red", "blue"):
        bench.picture(f"{colour}.png", colour)
    return "\n".join(
        f"{{name: {name}, prompt: {name}, workflow: qwen-edit, image: {colour}.png}}"
        for name, colour in (("first", "red"), ("second", "red"), ("third", "blue"))
    )


async def test_an_image_that_is_uploaded_while_a_price_rises_is_not_followed_by_its_job(start, tampered):
    """Both hold sixteen times 2. While the third uploads its picture, the second turns out to cost 50."""
    async with start(prices={"qwen-edit": Decimal(2)}) as bench:
        puts, submits = itertools.count(1), itertools.count(1)
        third_uploads, second_is_bought = asyncio.Event(), asyncio.Event()

        async def in_step(request: httpx.Request, send):
            if request.method == "PUT" and next(puts) == 2:
                third_uploads.set()
                await second_is_bought.wait()
            if request.url.path.endswith("/generate") and next(submits) == 2:
                await third_uploads.wait()
                await bench.configure(prices={"qwen-edit": "50"})
                answer = await send()
                await answer.aread()
                asyncio.get_running_loop().call_later(0.1, second_is_bought.set)
                return answer
            return await send()

        result = await bench.run(bench.manifest(edits(bench), budget="75"), transport=tampered(in_step))
        state = await bench.agree(result)
        rows = list(result.jobs())
    assert [job["price"] for job in state["jobs"]] == [2, 50]
    assert (result.exit_code, [row.status for row in rows]) == (4, ["succeeded", "succeeded", "blocked"])
    assert rows[2].error.code == "BUDGET_EXHAUSTED"
    assert result.report.credits.over_budget == 0


async def test_a_hold_that_a_risen_price_has_outgrown_is_taken_again_right_before_its_submit(start, tampered, watcher):
    """The second is refused once and lends its slot to the third, which waits for its turn; the second costs 50."""
    async with start(prices={"qwen-edit": Decimal(2)}) as bench:
        submits, puts, prepared = itertools.count(1), itertools.count(1), itertools.count(1)
        second_leaves, third_is_ready = asyncio.Event(), asyncio.Event()

        async def in_step(request: httpx.Request, send):
            if request.method == "PUT" and next(puts) == 2:
                await second_leaves.wait()
            if request.url.path.endswith("/generate"):
                number = next(submits)
                if number == 2:
                    return httpx.Response(429, headers={"Retry-After": "1"}, request=request)
                if number == 3:
                    second_leaves.set()
                    await third_is_ready.wait()
                    await bench.configure(prices={"qwen-edit": "50"})
            return await send()

        def look(message: object) -> None:
            if isinstance(getattr(message, "event", None), Prepared) and next(prepared) == 3:
                third_is_ready.set()

        manifest = bench.manifest(edits(bench), budget="75")
        transport = tampered(in_step)
        result = await bench.run(manifest, transport=transport, observer=watcher(look), concurrency=1)
        state = await bench.agree(result)
        rows = list(result.jobs())
    assert [job["price"] for job in state["jobs"]] == [2, 50]
    assert (result.exit_code, [row.status for row in rows]) == (4, ["succeeded", "succeeded", "blocked"])


async def test_run_after_run_a_submit_in_doubt_is_not_sent_at_a_price_that_an_earlier_one_saw(start, tampered):
    """Each holds sixteen times 2; the first that is sent again costs 40, and the others no longer fit."""
    async with start() as bench:
        manifest = bench.manifest(texts(10), budget=4 + 4 * 32)
        await leave_in_doubt(bench, tampered, manifest, accepted=2, in_doubt=4)
        await bench.configure(prices={"zimage-base": "40"})
        results = [await bench.run(manifest) for _ in range(4)]
        state = await bench.state()
    assert [job["price"] for job in state["jobs"]] == [2, 2, 40]
    assert [result.exit_code for result in results] == [5] * 4
    assert {result.report.credits.over_budget for result in results} == {Decimal(40 - 32)}


async def test_submits_in_doubt_at_a_price_within_their_bounds_are_all_sent_again(start, tampered):
    async with start() as bench:
        manifest = bench.manifest(texts(6), budget=4 + 4 * 32)
        await leave_in_doubt(bench, tampered, manifest, accepted=2, in_doubt=4)
        await bench.configure(prices={"zimage-base": "32"})
        result = await bench.run(manifest)
        state = await bench.agree(result)
    assert [job["price"] for job in state["jobs"]] == [2, 2, 32, 32, 32, 32]
    assert (result.exit_code, result.report.credits.over_budget) == (0, 0)


async def test_an_account_too_small_for_submits_in_doubt_does_not_keep_back_what_is_paid_for(start, tampered, tally):
    """A 402 is no sign of a gateway that can't be used, however many meet it: what is bought comes."""
    async with start(credits=25) as bench:
        manifest = bench.manifest(texts(15), budget=500)
        await leave_in_doubt(bench, tampered, manifest, accepted=4, in_doubt=8)
        await bench.configure(prices={"zimage-base": "17"})
        result = await bench.run(manifest)
        state = await bench.state()
    assert [job["price"] for job in state["jobs"]] == [2, 2, 2, 2, 17]
    assert (result.exit_code, tally(result)) == (5, {"succeeded": 5, "unknown": 7, "blocked": 3})
    assert {row.error.code for row in result.jobs() if row.error} == {"INSUFFICIENT_CREDITS"}


async def test_what_was_submitted_in_an_earlier_run_shows_nothing_about_todays_price(start, watcher, tampered):
    """A submit in doubt that turns out to have been bought at 2 must not let thirty others out at 9."""
    async with start() as bench:
        manifest = bench.manifest("\n".join(f"{{name: j{i}, prompt: 'p {i}'}}" for i in range(30)), budget=40)

        async def lose(request: httpx.Request, send):
            answer = await send()
            if request.url.path.endswith("/generate"):
                await answer.aread()
                task.cancel()
                await asyncio.sleep(1)
            return answer

        task = asyncio.ensure_future(bench.run(manifest, transport=tampered(lose)))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [job["price"] for job in (await bench.state())["jobs"]] == [2]
        await bench.configure(prices={"zimage-base": "9"})
        result = await bench.run(manifest)
        await bench.agree(result)
    assert result.report.credits.spent == 2 + 4 * 9
    assert result.report.credits.over_budget == 0


async def test_submits_in_doubt_that_did_not_fit_are_sent_again_under_a_raised_budget(start, tampered):
    async with start() as bench:
        manifest = bench.manifest(texts(10), budget=4 + 4 * 32)
        await leave_in_doubt(bench, tampered, manifest, accepted=2, in_doubt=4)
        await bench.configure(prices={"zimage-base": "40"})
        await bench.run(manifest)
        again = await bench.run(manifest, budget=2 * 2 + 8 * 40)
        await bench.agree(again)
    assert (again.exit_code, again.report.counts.succeeded) == (0, 10)
    assert (again.report.credits.spent, again.report.credits.over_budget) == (324, 0)


async def test_a_submit_in_doubt_that_is_refused_now_holds_no_more_than_it_did_and_the_rest_is_bought(start, tampered):
    """Sent again at 9 it holds all that is left, until the answer says that it was not bought now."""

    async def refuse(request: httpx.Request, send):
        if request.url.path.endswith("/generate") and b'"p 2"' in request.read():
            return httpx.Response(400, json={"success": False, "code": "INVALID_PARAMS", "error": "not today"})
        return await send()

    async with start() as bench:
        await leave_in_doubt(bench, tampered, bench.manifest(texts(3), budget=66), accepted=1, in_doubt=2)
        await bench.configure(prices={"zimage-base": "9"})
        result = await bench.run(bench.manifest(texts(4), budget=66), transport=tampered(refuse), concurrency=1)
        state = await bench.state()
    assert [job["price"] for job in state["jobs"]] == [2, 9, 9]
    assert [row.status for row in result.jobs()] == ["succeeded", "succeeded", "unknown", "succeeded"]
    assert (result.report.credits.spent, result.report.credits.held) == (20, 32)


async def test_what_another_run_directory_bought_shows_nothing_about_todays_price_either(start):
    async with start() as bench:
        work = "\n".join(f"{{name: j{i}, prompt: 'p {i}'}}" for i in range(30))
        await bench.run(bench.manifest(work, budget=2))
        await bench.configure(prices={"zimage-base": "9"})
        result = await bench.run(bench.manifest(work, budget=40), out_dir=bench.path / "elsewhere")
        await bench.agree(result)
    assert result.report.counts.reused == 1
    assert result.report.credits.spent == 2 + 4 * 9


def understating(tampered, price: int):
    """The answer to each submit names ``price``, whatever the job's record and the ledger say."""

    async def tamper(request: httpx.Request, send):
        answer = await send()
        if not request.url.path.endswith("/generate") or answer.status_code >= 300:
            return answer
        await answer.aread()
        body = answer.json()
        body["data"]["requested_credits"] = price
        return httpx.Response(answer.status_code, json=body)

    return tampered(tamper)


async def test_the_record_is_read_before_the_next_submit_where_it_has_differed(start, tampered, tally):
    """Answered 1, recorded and charged 7: four fit a budget of 30, however many jobs may be in flight."""
    async with start(prices={"zimage-base": Decimal(7)}) as bench:
        result = await bench.run(
            bench.manifest(texts(12), budget=30), transport=understating(tampered, 1), concurrency=24
        )
        state = await bench.agree(result)
        rows = list(result.jobs())
    assert len(state["jobs"]) == 4
    assert (result.exit_code, tally(result)) == (4, {"succeeded": 4, "blocked": 8})
    credits = result.report.credits
    assert (credits.spent, credits.over_budget, credits.price_differs_jobs) == (28, 0, 4)
    assert {row.credits for row in rows if row.job_id} == {7}


async def test_a_record_above_the_declared_ceiling_ends_all_buying(start, tampered, tally):
    async with start(prices={"zimage-base": Decimal(7)}) as bench:
        head = "budget: {credits: 100, max_credits_per_job: 5}\n"
        manifest = bench.manifest(texts(6), budget=None, head=head)
        result = await bench.run(manifest, transport=understating(tampered, 1))
        await bench.agree(result)
    assert (result.exit_code, tally(result)) == (4, {"succeeded": 1, "blocked": 5})
    assert [stop.code for stop in result.report.stops.values()] == ["PRICE_ABOVE_CEILING"]


async def test_a_record_beyond_a_surge_ends_all_buying(start, tampered, tally):
    async with start(prices={"zimage-base": Decimal(17)}) as bench:
        result = await bench.run(bench.manifest(texts(6), budget=1000), transport=understating(tampered, 1))
        await bench.agree(result)
    assert (result.exit_code, tally(result)) == (4, {"succeeded": 1, "blocked": 5})
    assert [stop.code for stop in result.report.stops.values()] == ["PRICE_ROSE"]


async def test_a_price_that_rises_above_the_ceiling_in_the_middle_ends_the_buying_of_every_workflow(start, tally):
    from crucible_batch.sandbox import parse_pricing

    rise = parse_pricing("zimage-base.rise-after=3x4.5")
    work = texts(8) + "\n" + "\n".join(f"{{name: s{i}, prompt: 'sheet {i}', workflow: zimage-sheet}}" for i in range(3))
    async with start(pricing=rise, prices={"zimage-sheet": Decimal(3)}) as bench:
        head = "budget: {credits: 100, max_credits_per_job: 4}\n"
        result = await bench.run(bench.manifest(work, budget=None, head=head), concurrency=1)
        state = await bench.agree(result)
    assert [job["price"] for job in state["jobs"]] == [2, 2, 2, 9]
    assert (result.exit_code, tally(result)) == (4, {"succeeded": 4, "blocked": 7})


async def test_prices_by_parameters_are_held_by_shape(start, tally):
    """The case that charged 386 of 50: one job at 2, then 80 at 16, with a ceiling that is declared."""
    from crucible_batch.sandbox import parse_pricing

    work = "{name: small, prompt: a, params: {size.width: 512, size.height: 512}}\n" + "\n".join(
        f"{{name: l{i}, prompt: 'p {i}', params: {{size.width: 2048, size.height: 1024}}}}" for i in range(80)
    )
    async with start(pricing=parse_pricing("zimage-base.base=2,zimage-base.size=512x512")) as bench:
        head = "budget: {credits: 50, max_credits_per_job: 16}\n"
        result = await bench.run(bench.manifest(work, budget=None, head=head), concurrency=64)
        state = await bench.agree(result)
    assert [job["price"] for job in state["jobs"]] == [2, 16, 16, 16]
    assert (result.exit_code, result.report.credits.spent, result.report.credits.over_budget) == (4, 50, 0)


async def test_what_is_held_for_a_job_that_is_no_longer_in_the_manifest_reports_it(start, tampered):
    """Its submit is not sent again, so neither the same command nor --resubmit-unknown alone ends the hold."""

    async def lost(request: httpx.Request, send):
        if request.url.path.endswith("/generate"):
            await (await send()).aread()
            raise httpx.ReadError("lost")
        return await send()

    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: one}", budget=50), transport=tampered(lost))
        changed = [await bench.run(bench.manifest("{name: a, prompt: two}", budget=budget)) for budget in (50, 100)]
        back = await bench.run(bench.manifest("{name: a, prompt: one}\n{name: b, prompt: two}", budget=50))
        await bench.agree(back)
    for result in changed:
        (stop,) = result.report.stops.values()
        assert (result.exit_code, "restore it in the manifest first" in (stop.hint or "")) == (4, True)
    assert (back.exit_code, back.report.credits.spent) == (0, 4)
