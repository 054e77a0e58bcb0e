"""Credits are held before they are spent: whole runs against the judge, at the edges of budgets and accounts."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from decimal import Decimal

import httpx
import pytest

from crucible_batch.domain.events import Accepted, Failed, Held
from crucible_batch.domain.gateway_types import Account, ErrorInfo
from crucible_batch.domain.job import Job
from crucible_batch.domain.ledger import Ledger
from crucible_batch.domain.prices import Shape
from crucible_batch.domain.progress import JobAdvanced
from crucible_batch.engine.admission import Admission
from crucible_batch.engine.clock import SystemClock
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.pause import Pause
from crucible_batch.engine.shutdown import Shutdown
from tests.unit.engine.readings import reader_of

TEN = "\n".join(f"{{name: j{i}, prompt: 'picture {i}'}}" for i in range(10))


def jobs(count: int, **fields: str) -> str:
    more = "".join(f", {name}: {value}" for name, value in fields.items())
    return "\n".join(f"{{name: j{i}, prompt: 'picture {i}'{more}}}" for i in range(count))


async def test_a_budget_that_reaches_exactly_is_spent_to_the_last_credit(start, tally):
    async with start() as bench:
        result = await bench.run(bench.manifest(jobs(5), budget=10))
        await bench.agree(result)
    assert result.exit_code == 0
    assert tally(result) == {"succeeded": 5}
    assert (result.report.credits.spent, result.report.credits.over_budget) == (10, 0)


async def test_one_credit_too_little_blocks_the_last_job_and_nothing_else(start, tally):
    async with start() as bench:
        result = await bench.run(bench.manifest(jobs(5), budget=9))
        await bench.agree(result)
        rows = list(result.jobs())
    assert result.exit_code == 4
    assert [row.status for row in rows] == ["succeeded"] * 4 + ["blocked"]
    assert rows[-1].error.code == "BUDGET_EXHAUSTED"
    assert result.report.credits.spent == 8


async def test_a_run_that_ends_for_its_way_to_the_gateway_reports_it_beside_the_class_that_it_cannot_pay(
    start, tampered
):
    async def tamper(request: httpx.Request, send):
        if request.method == "GET" and "/jobs/" in request.url.path:
            raise httpx.ReadError("lost")
        return await send()

    async with start() as bench:
        result = await bench.run(bench.manifest(jobs(2), budget=3), transport=tampered(tamper), wait_for_gateway_s=0)
        await bench.agree(result)
        rows = list(result.jobs())
    assert result.exit_code == 5
    assert [(scope, stop.code) for scope, stop in result.report.stops.items()] == [
        ("*", "NO_ANSWER"),
        ("workflow:zimage-base", "BUDGET_EXHAUSTED"),
    ]
    assert [(row.status, row.error and row.error.code) for row in rows] == [
        ("pending", None),
        ("blocked", "BUDGET_EXHAUSTED"),
    ]


async def test_ten_jobs_of_a_tenth_of_a_credit_cost_one_credit_exactly(start, tally):
    async with start(prices={"zimage-base": Decimal("0.1")}) as bench:
        result = await bench.run(bench.manifest(TEN, budget="1.0"))
        await bench.agree(result)
    assert result.exit_code == 0
    assert tally(result) == {"succeeded": 10}
    assert result.report.credits.spent == 1
    assert '"spent": "1"' in (bench.path / "out" / "report.json").read_text()


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


async def test_a_class_has_its_own_canary_and_does_not_wait_for_anothers(start):
    work = jobs(3) + "\n" + "\n".join(f"{{name: s{i}, prompt: 'sheet {i}', workflow: zimage-sheet}}" for i in range(3))
    async with start(prices={"zimage-sheet": Decimal(3)}) as bench:
        result = await bench.run(bench.manifest(work, budget=15))
        await bench.agree(result)
    assert result.exit_code == 0
    assert result.report.credits.spent == 15


async def test_a_price_that_rises_within_a_run_exceeds_the_budget_by_the_submits_in_flight_at_most(start):
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


async def test_a_price_that_an_earlier_run_paid_is_found_out_again(start, tally):
    async with start() as bench:
        await bench.run(bench.manifest(jobs(2), budget=40))
        await bench.configure(prices={"zimage-base": "9"})
        result = await bench.run(bench.manifest(jobs(30), budget=40))
        await bench.agree(result)
    # 4 are spent; the canary may spend 9, then what fits at 9.
    assert result.report.credits.spent == 4 + 4 * 9
    assert result.report.credits.over_budget == 0
    assert tally(result) == {"succeeded": 6, "blocked": 24}


async def test_an_account_that_runs_dry_blocks_the_rest_and_reports_it(start, tally):
    async with start(credits=5) as bench:
        result = await bench.run(bench.manifest(jobs(6), budget=100))
        await bench.agree(result)
        rows = list(result.jobs())
    assert result.exit_code == 4
    assert tally(result) == {"succeeded": 2, "blocked": 4}
    assert rows[-1].error.code == "INSUFFICIENT_CREDITS"


async def test_an_account_shared_with_others_answers_402_in_the_middle_and_the_run_ends(start, tampered, tally):
    refused = 0

    async def tamper(request: httpx.Request, send):
        nonlocal refused
        if request.url.path.endswith("/credits"):  # an old figure: somebody else has spent since
            answer = await send()
            await answer.aread()
            return httpx.Response(200, json={**answer.json(), "data": {**answer.json()["data"], "available": 1000}})
        answer = await send()
        refused += answer.status_code == 402
        return answer

    async with start(credits=7) as bench:
        result = await bench.run(bench.manifest(jobs(8), budget=100), transport=tampered(tamper), concurrency=4)
        await bench.agree(result)
    assert result.exit_code == 4
    assert tally(result) == {"succeeded": 3, "blocked": 5}
    assert 1 <= refused <= 4  # those in flight, and no hot loop


@pytest.mark.parametrize(
    "body", [b"", b"<html>Payment required</html>", b'{"success":false,"code":"NO_FUNDS","error":"no"}']
)
async def test_a_402_under_any_code_or_none_ends_the_run(start, tampered, tally, body):
    submits = 0

    async def tamper(request: httpx.Request, send):
        nonlocal submits
        if request.url.path.endswith("/generate"):
            submits += 1
            return httpx.Response(402, content=body)
        return await send()

    async with start() as bench:
        result = await bench.run(bench.manifest(jobs(3), budget=100), transport=tampered(tamper))
        await bench.agree(result)
    assert result.exit_code == 4
    assert tally(result) == {"blocked": 3}
    assert submits <= 3


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
    """A key that the gateway knows is answered for nothing, so one job alone is always asked for."""
    async with start(credits=6) as bench:
        await bench.run(bench.manifest(jobs(3), budget=6))
        result = await bench.run(bench.manifest(jobs(3), budget=6), out_dir=bench.path / "elsewhere")
        state = await bench.agree(result)
    assert result.exit_code == 0
    assert len(state["jobs"]) == 3
    assert result.report.counts.reused == 3


async def test_without_a_cap_the_account_is_the_limit(start, tally):
    async with start(credits=5) as bench:
        result = await bench.run(bench.manifest(jobs(4), budget=None), yes=True)
        await bench.agree(result)
    assert result.exit_code == 4
    assert tally(result) == {"succeeded": 2, "blocked": 2}


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


class Refunding:
    """An account that is empty until a job's credits come back; and the log of the books that are kept of it."""

    def __init__(self) -> None:
        self.available = Decimal(10)

    async def account(self) -> Account:
        return Account(self.available, Decimal(0), self.available)

    async def append(self, _subject: str, _event: object) -> None:
        """Durable at once."""


async def test_after_a_402_a_refund_alone_opens_the_account():
    around = Refunding()
    books = JournaledLedger(around, Ledger(), None)
    stop, clock = Shutdown(), SystemClock()
    admission = Admission(books, reader_of(around, books, clock), stop, clock, pause=Pause(stop, clock, nullcontext))

    async def hold(identity: str) -> Held | None:
        return await admission.hold(Job(identity), Shape("workflow:w"), missing=lambda: 0, claim=lambda: None)

    held = await hold("a")
    await books.record("a", held)
    await books.record("a", Accepted(at=1.0, job_id="j", credits=Decimal(4), reused=False))
    admission.close_account()
    around.available = Decimal(0)
    waiting = asyncio.ensure_future(hold("b"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    around.available = Decimal(10)
    await books.record("a", Failed(at=2.0, error=ErrorInfo("GENERATION_FAILED", "it failed")))
    assert isinstance(await waiting, Held)
