"""A run ends with one answer and not with as many failures as it has jobs: whole runs, by the
breaker's table.
"""

from __future__ import annotations

import itertools
from collections import Counter

import httpx
import pytest

from tests.harness.slow_cases import quick_every


def jobs(count: int, **fields: str) -> str:
    more = "".join(f", {name}: {value}" for name, value in fields.items())
    return "\n".join(f"{{name: j{i:03}, prompt: 'picture {i}'{more}}}" for i in range(count))


def is_submit(request: httpx.Request) -> bool:
    return request.url.path.endswith("/generate")


def refusal(status: int, code: str, hint: str = "ask them") -> httpx.Response:
    body = {
        "success": False,
        "code": code,
        "error": "not for you",
        "hint": hint,
        "request_id": "req_1",
    }
    return httpx.Response(status, json=body)


@pytest.mark.parametrize(
    ("status", "code"),
    quick_every(3, [(403, "FORBIDDEN"), (400, "ACCOUNT_SUSPENDED"), (405, "OLD_CLIENT")]),
)
@pytest.mark.parametrize("served", [0, 3])
async def test_the_same_answer_to_five_jobs_ends_the_run_with_it_and_leaves_the_rest_pending(
    start, tampered, tally, status, code, served
):
    submits = itertools.count(1)

    async def tamper(request: httpx.Request, send):
        if is_submit(request) and next(submits) > served:
            return refusal(status, code)
        return await send()

    async with start() as bench:
        manifest = bench.manifest(jobs(20), budget=200)
        result = await bench.run(manifest, transport=tampered(tamper), concurrency=1)
        await bench.agree(result)
        assert result.exit_code == 5
        assert result.report.status == "stopped"
        assert +tally(result) == +Counter(succeeded=served, failed=5, pending=15 - served)
        ((scope, stop),) = result.report.stops.items()
        assert (scope, stop.code, stop.hint, stop.request_id) == ("*", code, "ask them", "req_1")
        again = await bench.run(manifest)
        assert (again.exit_code, tally(again)) == (1, {"failed": 5, "succeeded": 15})
        last = await bench.run(manifest, retry_failed=True)
        await bench.agree(last)
    assert last.exit_code == 0
    assert last.report.credits.spent == 40


async def test_bad_lines_one_after_the_other_end_nothing(start, tally):
    bad = "\n".join(
        f"{{name: b{i}, prompt: 'p {i}', params: {{sampler.steps: 100000}}}}" for i in range(12)
    )
    async with start() as bench:
        result = await bench.run(bench.manifest(f"{bad}\n{jobs(3)}", budget=100), concurrency=1)
        await bench.agree(result)
    assert result.exit_code == 1
    assert tally(result) == {"failed": 12, "succeeded": 3}


@pytest.mark.parametrize(
    ("fault", "never", "code", "failed"),
    [
        ("fail", "[]", 5, 20),
        ("fail", "[GENERATION_FAILED]", 1, 30),
        ("moderate", "[]", 1, 30),
    ],
)
async def test_twenty_jobs_that_fail_alike_end_the_run_unless_it_is_their_own_doing(
    start, tally, fault, never, code, failed
):
    async with start(faults=f"generate.{fault}:1") as bench:
        head = f"retry: {{attempts: 2, never: {never}}}\n"
        result = await bench.run(bench.manifest(jobs(30), budget=100, head=head), concurrency=1)
        await bench.agree(result)
    assert result.exit_code == code
    assert tally(result)["failed"] == failed
    assert result.report.credits.spent == 0


@pytest.mark.parametrize("is_lost_first", [False, True])
async def test_a_409_for_a_key_of_another_request_is_definite_unless_a_submit_was_not_answered(
    start, tampered, tally, is_lost_first
):
    tries = itertools.count()

    async def tamper(request: httpx.Request, send):
        if not is_submit(request):
            return await send()
        if next(tries) == 0 and is_lost_first:
            await send()
            raise httpx.ReadError("the answer is lost")
        return refusal(409, "IDEMPOTENCY_KEY_REUSED")

    async with start() as bench:
        result = await bench.run(bench.manifest(jobs(1)), transport=tampered(tamper))
        bought = len((await bench.state())["jobs"])
    (row,) = result.jobs()
    assert row.error.code == "IDEMPOTENCY_KEY_REUSED"
    if is_lost_first:
        assert (tally(result), next(tries), bought, result.report.credits.held > 0) == (
            {"unknown": 1},
            2,
            1,
            True,
        )
    else:
        assert (tally(result), next(tries), bought, result.report.credits.held) == (
            {"failed": 1},
            1,
            0,
            0,
        )
