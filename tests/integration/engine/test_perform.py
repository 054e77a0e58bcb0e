"""What an answer, or the lack of one, makes of a job: by whole runs, judged by the sandbox's
ledger.
"""

from __future__ import annotations

import itertools
from collections import Counter

import httpx
import pytest

from crucible_batch.core.identity import idempotency_key
from crucible_batch.errors import KeyRefusedError
from crucible_batch.settings import Settings

SHORT_JOBS = True

THREE = "{name: a, prompt: one}\n{name: b, prompt: two}\n{name: c, prompt: three}"


async def test_a_failed_job_is_tried_again_under_the_next_key_and_refunded(start):
    async with start(faults="generate.fail=2") as bench:
        result = await bench.run(bench.manifest("{name: a, prompt: one}", budget=2))
        state = await bench.agree(result)
        (row,) = result.jobs()
    assert result.exit_code == 0
    assert [attempt.status for attempt in row.attempts] == ["failed", "failed", "succeeded"]
    assert len({attempt.idempotency_key for attempt in row.attempts}) == 3
    assert [job["idempotency_key"] for job in state["jobs"]] == [
        one.idempotency_key for one in row.attempts
    ]
    assert (result.report.credits.spent, result.report.credits.refunded, row.credits) == (2, 4, 2)


async def test_attempts_end_and_the_same_command_does_not_begin_them_again(start, tally):
    async with start(faults="generate.fail=99") as bench:
        manifest = bench.manifest("{name: a, prompt: one}", budget=4)
        first = await bench.run(manifest)
        again = await bench.run(manifest)
        state = await bench.agree(again)
        assert (first.exit_code, again.exit_code) == (1, 1)
        assert len(state["jobs"]) == 3
        assert again.report.credits.spent == 0
        await bench.configure(faults="")
        asked = await bench.run(manifest, retry_failed=True)
        await bench.agree(asked)
        (row,) = asked.jobs()
    assert asked.exit_code == 0
    assert row.idempotency_key == row.attempts[3].idempotency_key


async def test_the_manifest_says_how_often_and_after_which_failures(start, tally):
    async with start(faults="generate.fail=99") as bench:
        once = await bench.run(
            bench.manifest("{name: a, prompt: one}", head="retry: {attempts: 1}\n")
        )
        never = bench.manifest(
            "{name: a, prompt: two}", head="retry: {attempts: 5, never: [generation_failed]}\n"
        )
        hopeless = await bench.run(never, out_dir=bench.path / "never")
        state = await bench.state()
    assert (once.exit_code, hopeless.exit_code) == (1, 1)
    assert len(state["jobs"]) == 2


@pytest.mark.parametrize(
    "fault",
    [
        "drop-after=3",
        "500-after=2",
        "html=2",
        "empty=2",
        "drop-before=2",
        "500-before=2",
        "503-before=2",
        "429=2",
    ],
)
async def test_an_answer_that_was_lost_buys_nothing_twice(start, fault, tally):
    async with start(faults=f"generate.{fault}") as bench:
        result = await bench.run(bench.manifest(THREE, budget=6))
        state = await bench.agree(result)
    assert result.exit_code == 0
    assert tally(result) == {"succeeded": 3}
    assert len(state["jobs"]) == 3
    assert result.report.counts.reused == 0
    assert state["faults_fired"]


async def test_a_submit_that_nobody_ever_answers_stays_unknown_with_its_hold_and_is_settled_later(
    start, tally
):
    async with start(faults="generate.drop-after=99") as bench:
        manifest = bench.manifest("{name: a, prompt: one}", budget=10)
        result = await bench.run(manifest)
        (row,) = result.jobs()
        assert result.exit_code == 5
        assert row.status == "unknown"
        assert result.report.credits.held == 10  # a price that nobody named may be all there is
        await bench.configure(faults="")
        again = await bench.run(manifest)
        state = await bench.agree(again)
    assert again.exit_code == 0
    assert len(state["jobs"]) == 1
    assert again.report.counts.reused == 0


@pytest.mark.parametrize("status", [400, 401, 402, 404, 409, 422, 500, 503])
async def test_a_refusal_of_a_submit_in_doubt_proves_nothing_and_frees_nothing(
    start, tampered, status, tally
):
    lost = False

    async def tamper(request: httpx.Request, send):
        nonlocal lost
        if not request.url.path.endswith("/generate"):
            return await send()
        if lost:
            return httpx.Response(status, json={"success": False, "code": "ODD", "error": "no"})
        lost = True
        await (await send()).aread()
        raise httpx.ReadError("lost")

    async with start() as bench:
        manifest = bench.manifest("{name: a, prompt: one}", budget=10)
        first = await bench.run(manifest, transport=tampered(tamper))
        assert tally(first) == {"unknown": 1}
        assert first.exit_code == (3 if status == 401 else 5)
        assert first.report.credits.held == 10
        second = await bench.run(manifest, transport=tampered(tamper))
        assert tally(second) == {"unknown": 1}
        assert second.report.credits.held == 10
        third = await bench.run(manifest)
        state = await bench.agree(third)
    assert third.exit_code == 0
    assert len(state["jobs"]) == 1


async def test_a_refused_key_ends_the_run_with_3_and_spends_nothing(start):
    async with start() as bench:
        stranger = Settings(api_key="moltazine_wrong", base_url=bench.running.api_url)
        with pytest.raises(KeyRefusedError) as caught:
            await bench.run(bench.manifest(THREE), settings=stranger)
    assert caught.value.exit_code == 3
    assert not (bench.path / "out").exists()


@pytest.mark.parametrize("path", ["/generate", "/credits", "/jobs/", "/assets"])
async def test_a_key_that_is_refused_in_the_middle_ends_the_run_with_3_and_a_new_one_continues(
    start, tampered, path, tally
):
    asked = 0

    async def tamper(request: httpx.Request, send):
        nonlocal asked
        asked += path in request.url.path
        if path in request.url.path and asked >= 1:
            return httpx.Response(
                401, json={"success": False, "code": "UNAUTHORIZED", "error": "no"}
            )
        return await send()

    async with start() as bench:
        bench.picture("a.png")
        work = THREE + "\n{name: e, prompt: edit, workflow: qwen-edit, image: a.png}"
        manifest = bench.manifest(work)
        result = await bench.run(manifest, transport=tampered(tamper))
        assert result.exit_code == 3
        assert result.report.status == "stopped"
        again = await bench.run(manifest)
        state = await bench.state()
    assert again.exit_code == 0
    assert len(state["jobs"]) == 4
    assert again.report.credits.spent == 1000 - state["audit"]["available"]


async def test_a_workflow_that_goes_away_fails_its_own_jobs_and_no_others(start, tampered, tally):
    asked: list[str] = []

    async def tamper(request: httpx.Request, send):
        if request.url.path.endswith("/generate") and b"zimage-sheet" in request.read():
            asked.append("sheet")
            return httpx.Response(
                404, json={"success": False, "code": "WORKFLOW_NOT_FOUND", "error": "gone"}
            )
        return await send()

    async with start() as bench:
        work = (
            THREE
            + "\n"
            + "\n".join(
                f"{{name: s{i}, prompt: 's {i}', workflow: zimage-sheet}}" for i in range(9)
            )
        )
        result = await bench.run(
            bench.manifest(work, budget=50), transport=tampered(tamper), concurrency=2
        )
        await bench.agree(result)
    assert result.exit_code == 1
    assert tally(result) == {"succeeded": 3, "failed": 9}
    assert (
        len(asked) <= 2
    )  # the first, and one that had asked for its credits before the answer came


async def test_an_html_404_of_the_edge_fails_no_job(start, tampered, tally):
    async def tamper(request: httpx.Request, send):
        if request.url.path.endswith("/generate"):
            return httpx.Response(
                404, content=b"<html>nginx</html>", headers={"content-type": "text/html"}
            )
        return await send()

    async with start() as bench:
        manifest = bench.manifest(THREE)
        result = await bench.run(manifest, transport=tampered(tamper))
        await bench.agree(result)
        assert result.exit_code == 5
        assert set(tally(result)) == {"pending"}
        again = await bench.run(manifest)
    assert again.exit_code == 0


async def test_a_job_that_the_gateway_forgets_counts_as_spent_and_is_not_bought_again(
    start, tampered, tally
):
    async def forget(request: httpx.Request, send):
        if request.url.path.startswith("/api/v1/jobs/"):
            return httpx.Response(
                404, json={"success": False, "code": "JOB_NOT_FOUND", "error": "no"}
            )
        return await send()

    async with start() as bench:
        manifest = bench.manifest("{name: a, prompt: one}", budget=10)
        lost = await bench.run(manifest, transport=tampered(forget))
        await bench.agree(lost)
        (row,) = lost.jobs()
        assert (row.status, row.error.code) == ("failed", "LOST_BY_GATEWAY")
        assert lost.report.credits.spent == 2
        found = await bench.run(manifest)
        state = await bench.agree(found)
    assert found.exit_code == 0
    assert len(state["jobs"]) == 1
    assert found.report.credits.spent == 2


async def test_replicas_that_lag_behind_buy_nothing_again_and_lose_no_job(start, tampered, tally):
    """Each purchase is answered with 404 the first four times that it is read."""
    reads = Counter[str]()

    async def lag(request: httpx.Request, send):
        path = request.url.path
        if request.method == "GET" and path.startswith(("/api/v1/jobs/", "/api/v1/assets/")):
            reads[path] += 1
            if reads[path] <= 4:
                code = "JOB_NOT_FOUND" if "/jobs/" in path else "ASSET_NOT_FOUND"
                answer = {"success": False, "code": code, "error": "no"}
                return httpx.Response(404, json=answer)
        return await send()

    async with start() as bench:
        bench.picture("a.png")
        work = THREE + "\n{name: e, prompt: edit, workflow: qwen-edit, image: a.png}"
        result = await bench.run(bench.manifest(work, budget=20), transport=tampered(lag))
        state = await bench.agree(result)
    assert (result.exit_code, tally(result)) == (0, {"succeeded": 4})
    assert list(state["uploads"].values()) == [1]
    assert (len(state["assets"]), min(reads.values())) == (1, 5)


async def test_an_unknown_status_is_neither_failure_nor_success(start, tampered):
    looks = 0

    async def odd(request: httpx.Request, send):
        nonlocal looks
        answer = await send()
        if request.url.path.startswith("/api/v1/jobs/") and looks < 3:
            looks += 1
            await answer.aread()
            body = answer.json()
            body["data"] |= {"status": "cancelled", "outputs": []}
            return httpx.Response(200, json=body)
        return answer

    async with start() as bench:
        result = await bench.run(bench.manifest("{name: a, prompt: one}"), transport=tampered(odd))
        await bench.agree(result)
    assert result.exit_code == 0
    assert looks == 3


async def test_every_key_that_leaves_is_the_one_of_its_job_and_attempt(start, tampered):
    sent: list[str] = []

    async def note(request: httpx.Request, send):
        if request.url.path.endswith("/generate"):
            sent.append(request.read().decode())
        return await send()

    async with start(faults="generate.fail=1") as bench:
        result = await bench.run(bench.manifest(THREE), transport=tampered(note))
        rows = list(result.jobs())
    from crucible_batch.journal import Journal

    with Journal.read(bench.path / "out") as journal:
        from crucible_batch.core.retry_rule import RetryRule

        known = {
            idempotency_key(planned.identity, number)
            for planned, _ in journal.jobs(RetryRule())
            for number in (1, 2)
        }
    keys = {attempt.idempotency_key for row in rows for attempt in row.attempts}
    assert len(keys) == 4
    assert keys <= known
    assert all(any(key in body for key in keys) for body in sent)


@pytest.mark.parametrize(("first", "was_seen"), [("running", True), ("queued", False)])
async def test_a_look_that_finds_a_job_running_is_noted_with_its_time(
    start, tampered, first, was_seen
):
    looks = itertools.count(
        1
    )  # the first compares the price in the record with the answer to the submit

    async def early(request: httpx.Request, send):
        answer = await send()
        if request.url.path.startswith("/api/v1/jobs/"):
            await answer.aread()
            body = answer.json()
            if next(looks) <= 2 or body["data"]["status"] in {"queued", "running"}:
                body["data"] |= {"status": first, "outputs": []}
                return httpx.Response(200, json=body)
        return answer

    async with start() as bench:
        result = await bench.run(
            bench.manifest("{name: a, prompt: one}"), transport=tampered(early)
        )
        (row,) = result.jobs()
    (attempt,) = row.attempts
    assert (attempt.running_at is not None) is was_seen
    assert attempt.accepted_at < (attempt.running_at or attempt.ended_at) <= attempt.ended_at
