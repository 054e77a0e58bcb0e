"""Credits are held before they are spent: whole runs against the judge, at the edges of budgets and
accounts.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal

import httpx

from crucible_batch.core.progress import JobAdvanced

TEN = "\n".join(f"{{name: j{i}, prompt: 'picture {i}'}}" for i in range(10))


def jobs(count: int, **fields: str) -> str:
    more = "".join(f", {name}: {value}" for name, value in fields.items())
    return "\n".join(f"{{name: j{i}, prompt: 'picture {i}'{more}}}" for i in range(count))


async def test_one_credit_too_little_blocks_the_last_job_and_nothing_else(start, tally):
    async with start() as bench:
        result = await bench.run(bench.manifest(jobs(5), budget=9))
        await bench.agree(result)
        rows = list(result.jobs())
    assert result.exit_code == 4
    assert [row.status for row in rows] == ["succeeded"] * 4 + ["blocked"]
    assert rows[-1].error.code == "BUDGET_EXHAUSTED"
    assert result.report.credits.spent == 8


async def test_a_budget_raised_later_pays_for_the_rest_only(start, tally):
    async with start() as bench:
        first = await bench.run(bench.manifest(jobs(4), budget=4))
        second = await bench.run(bench.manifest(jobs(4), budget=8))
        state = await bench.agree(second)
    assert tally(first) == {"succeeded": 4}  # rows are of the newest run
    assert (first.exit_code, second.exit_code) == (4, 0)
    assert len(state["jobs"]) == 4
    assert second.report.credits.spent == 8


async def test_a_price_above_the_ceiling_blocks_after_the_one_job_that_found_it_out(start, tally):
    async with start(prices={"zimage-base": Decimal(7)}) as bench:
        head = "budget: {credits: 100, max_credits_per_job: 5}\n"
        result = await bench.run(bench.manifest(jobs(6), budget=None, head=head))
        await bench.agree(result)
        again = await bench.run(bench.manifest(jobs(6), budget=None, head=head))
        state = await bench.agree(again)
    assert (result.exit_code, again.exit_code) == (4, 4)
    assert tally(again) == {"succeeded": 1, "blocked": 5}
    assert {stop.code for stop in again.report.stops.values()} == {"PRICE_ABOVE_CEILING"}
    assert len(state["jobs"]) == 1


async def test_one_job_finds_a_price_out_while_its_class_waits(start, tampered):
    under_way: set[int] = set()
    together: list[int] = []

    async def tamper(request: httpx.Request, send):
        if not request.url.path.endswith("/generate"):
            return await send()
        under_way.add(len(together))
        together.append(len(under_way))
        number = len(together) - 1
        await asyncio.sleep(0.03)  # long enough for the others to push past, if they could
        answer = await send()
        under_way.discard(number)
        return answer

    async with start() as bench:
        result = await bench.run(bench.manifest(jobs(8), budget=500), transport=tampered(tamper))
        await bench.agree(result)
    assert result.exit_code == 0
    assert together[:2] == [1, 1]  # the second asked when the first was answered
    assert max(together) > 3  # and from then on they go side by side


async def test_a_price_that_rises_within_a_run_exceeds_the_budget_by_the_submits_in_flight_at_most(
    start,
):
    from crucible_batch.sandbox import parse_pricing

    rise = parse_pricing("zimage-base.rise-after=3x4.5")
    async with start(pricing=rise) as bench:
        result = await bench.run(bench.manifest(jobs(12), budget=24), concurrency=4)
        state = await bench.agree(result)
        risen = [job for job in state["jobs"] if job["price"] == 9]
    assert len(risen) <= 4
    assert result.report.credits.over_budget == max(0, result.report.credits.spent - 24)
    assert result.report.credits.over_budget <= 4 * (9 - 2)
    assert result.exit_code == 4


async def test_an_account_that_runs_dry_blocks_the_rest_and_reports_it(start, tally):
    async with start(credits=5) as bench:
        result = await bench.run(bench.manifest(jobs(6), budget=100))
        await bench.agree(result)
        rows = list(result.jobs())
    assert result.exit_code == 4
    assert tally(result) == {"succeeded": 2, "blocked": 4}
    assert rows[-1].error.code == "INSUFFICIENT_CREDITS"


async def test_an_account_shared_with_others_answers_402_in_the_middle_and_the_run_ends(
    start, tampered, tally
):
    refused = 0

    async def tamper(request: httpx.Request, send):
        nonlocal refused
        if request.url.path.endswith("/credits"):  # an old figure: somebody else has spent since
            answer = await send()
            await answer.aread()
            return httpx.Response(
                200, json={**answer.json(), "data": {**answer.json()["data"], "available": 1000}}
            )
        answer = await send()
        refused += answer.status_code == 402
        return answer

    async with start(credits=7) as bench:
        result = await bench.run(
            bench.manifest(jobs(8), budget=100), transport=tampered(tamper), concurrency=4
        )
        await bench.agree(result)
    assert result.exit_code == 4
    assert tally(result) == {"succeeded": 3, "blocked": 5}
    assert 1 <= refused <= 4  # those in flight, and no hot loop


async def test_refunds_open_an_account_again_that_was_closed(start, tally):
    """Six credits for four jobs of two: one fails, and its refund pays for the next."""
    async with start(credits=8, faults="generate.fail=1") as bench:
        result = await bench.run(bench.manifest(jobs(4), budget=100))
        state = await bench.agree(result)
    assert result.exit_code == 0
    assert tally(result) == {"succeeded": 4}
    assert len(state["jobs"]) == 5
    assert result.report.credits.refunded == 2


async def test_an_empty_account_does_not_keep_from_finding_what_was_bought(start, tally):
    """A key that the gateway knows costs nothing, so one job alone is always asked for."""
    async with start(credits=6) as bench:
        await bench.run(bench.manifest(jobs(3), budget=6))
        result = await bench.run(
            bench.manifest(jobs(3), budget=6), out_dir=bench.path / "elsewhere"
        )
        state = await bench.agree(result)
    assert result.exit_code == 0
    assert len(state["jobs"]) == 3
    assert result.report.counts.reused == 3


async def test_jobs_are_bought_in_the_manifests_order(start):
    async with start() as bench:
        result = await bench.run(bench.manifest(TEN, budget=12), concurrency=3)
        state = await bench.agree(result)
    assert [job["prompt"] for job in state["jobs"]] == [f"picture {i}" for i in range(6)]


async def test_the_budget_holds_at_every_message_of_a_run(start, watcher):
    seen = watcher()
    async with start(faults="generate.fail:0.3", seed=3) as bench:
        result = await bench.run(bench.manifest(TEN, budget=13), observer=seen)
        await bench.agree(result)
    balances = [message.balance for message in seen.messages if isinstance(message, JobAdvanced)]
    assert balances
    assert all(0 <= balance.spent + balance.held <= 13 for balance in balances)
