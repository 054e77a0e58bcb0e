"""Prices that move: budgets that are exact, holds that a rise has outgrown, submits in doubt at
another day's price.
"""

from __future__ import annotations

import asyncio
import itertools
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from crucible_batch.core.events import Accepted
from tests.harness.stopped_runs import stop_after, stop_at_answer

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def texts(count: int) -> str:
    return "\n".join(f"{{name: j{i}, prompt: 'p {i}'}}" for i in range(count))


async def leave_in_doubt(bench, tampered, manifest: Path, *, accepted: int, in_doubt: int) -> None:
    """Have the first jobs accepted, and end while the submits of others are on their way and never
    arrive."""
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


async def test_an_exact_budget_is_enough_for_a_run_that_was_killed_before_its_last_job(
    start, watcher, tally
):
    async with start() as bench:
        manifest = bench.manifest(texts(3), budget=6, head="retry: {attempts: 1}\n")
        await stop_after(bench, watcher, manifest, Accepted, 2, concurrency=1)
        result = await bench.run(manifest)
        await bench.agree(result)
    assert (result.exit_code, tally(result)) == (0, {"succeeded": 3})
    assert (result.report.credits.spent, result.report.credits.over_budget) == (6, 0)


async def test_run_after_run_a_submit_in_doubt_is_not_sent_at_a_price_that_an_earlier_one_saw(
    start, tampered
):
    """Each holds sixteen times 2; the first that is sent again costs 40, and the others no longer
    fit."""
    async with start() as bench:
        manifest = bench.manifest(texts(10), budget=4 + 4 * 32)
        await leave_in_doubt(bench, tampered, manifest, accepted=2, in_doubt=4)
        await bench.configure(prices={"zimage-base": "40"})
        results = [await bench.run(manifest) for _ in range(4)]
        state = await bench.state()
        raised = await bench.run(manifest, budget=2 * 2 + 8 * 40)
        await bench.agree(raised)
    assert [job["price"] for job in state["jobs"]] == [2, 2, 40]
    assert [result.exit_code for result in results] == [5] * 4
    assert {result.report.credits.over_budget for result in results} == {Decimal(40 - 32)}
    assert (raised.exit_code, raised.report.counts.succeeded) == (0, 10)
    assert (raised.report.credits.spent, raised.report.credits.over_budget) == (324, 0)


async def test_what_was_submitted_in_an_earlier_run_shows_nothing_about_todays_price(
    start, watcher, tampered
):
    """A submit in doubt that turns out to have been bought at 2 must not let thirty others out at
    9."""
    async with start() as bench:
        manifest = bench.manifest(
            "\n".join(f"{{name: j{i}, prompt: 'p {i}'}}" for i in range(30)), budget=40
        )

        await stop_at_answer(bench, tampered, manifest, "/generate")
        assert [job["price"] for job in (await bench.state())["jobs"]] == [2]
        await bench.configure(prices={"zimage-base": "9"})
        result = await bench.run(manifest)
        await bench.agree(result)
    assert result.report.credits.spent == 2 + 4 * 9
    assert result.report.credits.over_budget == 0


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


async def test_the_record_is_read_before_the_next_submit_where_it_has_differed(
    start, tampered, tally
):
    """Answered 1, recorded and charged 7: four fit a budget of 30, however many jobs may be in
    flight.
    """
    async with start(prices={"zimage-base": Decimal(7)}) as bench:
        result = await bench.run(
            bench.manifest(texts(12), budget=30),
            transport=understating(tampered, 1),
            concurrency=24,
        )
        state = await bench.agree(result)
        rows = list(result.jobs())
    assert len(state["jobs"]) == 4
    assert (result.exit_code, tally(result)) == (4, {"succeeded": 4, "blocked": 8})
    credits = result.report.credits
    assert (credits.spent, credits.over_budget, credits.price_differs_jobs) == (28, 0, 4)
    assert {row.credits for row in rows if row.job_id} == {7}


async def test_prices_by_parameters_are_held_by_shape(start, tally):
    """The case that charged 386 of 50: one job at 2, then 80 at 16, with a ceiling that is
    declared.
    """
    from crucible_batch.sandbox import parse_pricing

    work = "{name: small, prompt: a, params: {size.width: 512, size.height: 512}}\n" + "\n".join(
        f"{{name: l{i}, prompt: 'p {i}', params: {{size.width: 2048, size.height: 1024}}}}"
        for i in range(80)
    )
    async with start(pricing=parse_pricing("zimage-base.base=2,zimage-base.size=512x512")) as bench:
        head = "budget: {credits: 50, max_credits_per_job: 16}\n"
        result = await bench.run(bench.manifest(work, budget=None, head=head), concurrency=64)
        state = await bench.agree(result)
    assert [job["price"] for job in state["jobs"]] == [2, 16, 16, 16]
    assert (result.exit_code, result.report.credits.spent, result.report.credits.over_budget) == (
        4,
        50,
        0,
    )


async def test_what_is_held_for_a_job_that_is_no_longer_in_the_manifest_reports_it(start, tampered):
    """Its submit is not sent again, so neither the same command nor --resubmit-unknown alone ends
    the hold."""

    async def lost(request: httpx.Request, send):
        if request.url.path.endswith("/generate"):
            await (await send()).aread()
            raise httpx.ReadError("lost")
        return await send()

    async with start() as bench:
        await bench.run(
            bench.manifest("{name: a, prompt: one}", budget=50), transport=tampered(lost)
        )
        changed = [
            await bench.run(bench.manifest("{name: a, prompt: two}", budget=budget))
            for budget in (50, 100)
        ]
        back = await bench.run(
            bench.manifest("{name: a, prompt: one}\n{name: b, prompt: two}", budget=50)
        )
        await bench.agree(back)
    for result in changed:
        (stop,) = result.report.stops.values()
        assert (result.exit_code, "restore it in the manifest first" in (stop.hint or "")) == (
            4,
            True,
        )
    assert (back.exit_code, back.report.credits.spent) == (0, 4)
