"""Three figures for one job: the answer to its submit, its own record, the ledger. Books take the
highest at once.
"""

from __future__ import annotations

import json
from decimal import Decimal

import httpx

from crucible_batch.cli.render.summary import credits_words
from crucible_batch.core.events import Repriced


def texts(count: int) -> str:
    return "\n".join(f"{{name: j{i}, prompt: 'p {i}'}}" for i in range(count))


def answering(credits: float):
    """Let the answer to each submit name ``credits``, whatever the job costs."""

    async def tamper(request: httpx.Request, send):
        answer = await send()
        if not request.url.path.endswith("/generate"):
            return answer
        body = json.loads(await answer.aread())
        if not body.get("success"):
            return httpx.Response(answer.status_code, json=body)
        body["data"]["requested_credits"] = credits
        return httpx.Response(answer.status_code, json=body)

    return tamper


def recording(credits: float):
    """Let each job's record name ``credits``, whatever the job costs."""

    async def tamper(request: httpx.Request, send):
        answer = await send()
        if "/jobs/" not in request.url.path or answer.status_code != 200:
            return answer
        body = json.loads(await answer.aread())
        body["data"]["requested_credits"] = credits
        return httpx.Response(200, json=body)

    return tamper


async def test_a_record_above_the_answer_is_booked_at_once_and_ends_what_has_no_room(
    start, tampered, watcher
):
    """The answer says 1; the record and the ledger say 7. A budget of 30 has room for four."""
    events = []
    seen = watcher(lambda message: events.append(getattr(message, "event", None)))
    async with start(prices={"zimage-base": Decimal(7)}) as bench:
        manifest = bench.manifest(texts(20), budget=30)
        result = await bench.run(
            manifest, transport=tampered(answering(1)), observer=seen, concurrency=1
        )
        await bench.agree(result)
    credits = result.report.credits
    assert (result.exit_code, credits.spent, credits.over_budget) == (4, 28, 0)
    assert (credits.price_differs, credits.price_differs_jobs) == (24, 4)
    (attempt,) = next(result.jobs()).attempts
    assert (attempt.credits, attempt.answer_credits, attempt.record_credits) == (7, 1, 7)
    assert next(result.jobs()).credits == 7
    assert "4 jobs differ by 24 IN THE GATEWAY'S RECORD" in credits_words(result.report)
    assert any("the records of 4 jobs name other prices" in note for note in result.report.notes)
    assert sum(isinstance(event, Repriced) for event in events) == 4


async def test_the_record_of_a_job_that_is_still_running_counts_before_the_job_has_ended(
    start, tampered, watcher
):
    held = []

    def note(message: object) -> None:
        if isinstance(getattr(message, "event", None), Repriced):
            held.append((message.phase.value, message.balance.held))

    async with start(prices={"zimage-base": Decimal(7)}, time_scale=20.0) as bench:
        result = await bench.run(
            bench.manifest(texts(1)), transport=tampered(answering(1)), observer=watcher(note)
        )
        await bench.agree(result)
    assert held == [("in_flight", 7)]
    assert (result.exit_code, result.report.credits.spent) == (0, 7)


async def test_a_record_below_the_answer_lowers_nothing_and_is_told(start, tampered):
    async with start() as bench:
        result = await bench.run(bench.manifest(texts(1)), transport=tampered(recording(0.5)))
        await bench.agree(result)
    credits = result.report.credits
    assert (credits.spent, credits.price_differs, credits.price_differs_jobs) == (
        2,
        Decimal("1.5"),
        1,
    )
    (attempt,) = next(result.jobs()).attempts
    assert (attempt.credits, attempt.answer_credits, attempt.record_credits) == (
        2,
        2,
        Decimal("0.5"),
    )


async def test_a_record_that_rises_after_the_job_is_booked_and_binds_the_next_run(start, tampered):
    """Until it has been found succeeded once, each record names 1; when it is looked at again it
    names 7."""
    ended = set()

    async def tamper(request: httpx.Request, send):
        if "/jobs/" not in request.url.path:
            return await answering(1)(request, send)
        body = json.loads(await (answer := await send()).aread())
        if request.url.path not in ended:
            body["data"]["requested_credits"] = 1
        if body["data"]["status"] == "succeeded":
            ended.add(request.url.path)
        return httpx.Response(answer.status_code, json=body)

    async with start(prices={"zimage-base": Decimal(7)}) as bench:
        manifest = bench.manifest(texts(6), budget=30)
        result = await bench.run(manifest, transport=tampered(tamper))
        again = await bench.run(manifest, transport=tampered(tamper))
        state = await bench.agree(again)
    credits, bought = result.report.credits, len(state["jobs"])
    assert (credits.spent, credits.over_budget) == (7 * bought, max(0, 7 * bought - 30))
    assert (credits.price_differs, credits.price_differs_jobs) == (6 * bought, bought)
    assert {row.credits for row in result.jobs() if row.credits} == {7}
    assert again.report.credits.spent == credits.spent


async def test_a_failed_job_whose_record_names_more_gives_all_of_it_back(start, tampered):
    async with start(prices={"zimage-base": Decimal(7)}) as bench:
        manifest = bench.manifest("{name: a, prompt: nsfw}")
        result = await bench.run(manifest, transport=tampered(answering(1)))
        await bench.agree(result)
    credits = result.report.credits
    assert (credits.spent, credits.held, credits.refunded, credits.price_differs) == (0, 0, 7, 6)


async def test_a_failed_job_whose_record_names_nothing_is_no_difference(start, tampered):
    async with start() as bench:
        result = await bench.run(
            bench.manifest("{name: a, prompt: nsfw}"), transport=tampered(recording(0))
        )
    assert (result.report.credits.refunded, result.report.credits.price_differs_jobs) == (2, 0)


async def test_figures_that_agree_are_no_difference(start):
    async with start() as bench:
        result = await bench.run(bench.manifest(texts(3)))
    assert (result.report.credits.price_differs, result.report.credits.price_differs_jobs) == (0, 0)
    assert next(result.jobs()).attempts[0].record_credits is None
