"""A job that the gateway names for a key must be the job that was requested: its workflow, and its
parameters if the record has them. Otherwise the picture of another job would be saved, and reported
as this one's.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from crucible_batch.errors import ExitCode

SHORT_JOBS = True

Send = Callable[[], Awaitable[httpx.Response]]
FOX = {"prompt.text": "a fox", "size.width": 64, "size.height": 64}


def naming(
    job: dict[str, Any], record: Callable[[dict[str, Any]], None] = lambda _data: None
) -> Any:
    """Answer each submit with 200 and this job, at no cost; ``record`` changes records of jobs."""

    async def tamper(request: httpx.Request, send: Send) -> httpx.Response:
        if request.url.path.endswith("/generate"):
            return httpx.Response(200, json={"success": True, "data": job})
        answer = await send()
        if "/api/v1/jobs/" not in request.url.path:
            return answer
        content = json.loads(await answer.aread())
        record(content["data"])
        return httpx.Response(200, json=content)

    return tamper


async def earlier_job(bench: Any, workflow: str, params: dict[str, object]) -> dict[str, Any]:
    """Buy a job as another client of the account does."""
    answer = await bench.http.post(
        f"{bench.running.api_url}/api/v1/generate",
        headers={"Authorization": f"Bearer {bench.running.api_key}"},
        json={"workflow_id": workflow, "params": params, "idempotency_key": "another-client"},
    )
    assert answer.status_code == 202
    job: dict[str, Any] = answer.json()["data"]
    await bench.clock.sleep(60)  # it has succeeded, and has a picture
    return job


def params_in_record(**params: object) -> Callable[[dict[str, Any]], None]:
    def record(data: dict[str, Any]) -> None:
        data["params"] = params

    return record


def without_workflow(data: dict[str, Any]) -> None:
    del data["workflow_id"]


async def ended(bench: Any, tampered: Any, tamper: Any) -> tuple[Any, Any]:
    result = await bench.run(
        bench.manifest("{name: fox, prompt: a fox}"), transport=tampered(tamper)
    )
    (row,) = result.jobs()
    return result, row


def assert_refused(bench: Any, result: Any, row: Any) -> None:
    assert result.exit_code not in {ExitCode.OK, 70}
    assert row.status != "succeeded"
    assert row.outputs == []
    assert bench.outputs() == []


async def test_a_job_of_another_workflow_is_not_saved_as_this_jobs_picture(
    start: Any, tampered: Any
) -> None:
    async with start() as bench:
        other = await earlier_job(bench, "zimage-sketch", {"prompt.text": "a car"})
        result, row = await ended(bench, tampered, naming(other))
        state = await bench.state()
    assert_refused(bench, result, row)
    assert row.error is not None
    assert "zimage-sketch" in row.error.message
    assert "zimage-base" in row.error.message
    assert row.error.hint
    assert len(state["jobs"]) == 1


async def test_it_is_not_saved_by_the_next_run_either(start: Any, tampered: Any) -> None:
    """The next run must not take the journal's word for it."""
    async with start() as bench:
        other = await earlier_job(bench, "zimage-sketch", {"prompt.text": "a car"})
        await ended(bench, tampered, naming(other))
        result, row = await ended(bench, tampered, naming(other))
    assert_refused(bench, result, row)


async def test_a_job_with_other_parameters_is_not_saved_where_the_record_has_them(
    start: Any, tampered: Any
) -> None:
    async with start() as bench:
        other = await earlier_job(bench, "zimage-base", {**FOX, "prompt.text": "a car"})
        record = params_in_record(**{**FOX, "prompt.text": "a car"})
        result, row = await ended(bench, tampered, naming(other, record))
    assert_refused(bench, result, row)


@pytest.mark.parametrize(
    "record",
    [
        lambda _data: None,
        without_workflow,
        lambda data: data.update(params=FOX),
        lambda data: data.update(
            params={**FOX, "size.width": 64.0, "sampler.steps": 8, "seed.value": 7}
        ),
        lambda data: data.update(params=None),
        lambda data: data.update(params={}),
        lambda data: data.update(params="a fox"),
        lambda data: data.update(params=[["prompt.text", "a fox"]]),
    ],
    ids=["none", "no workflow", "the same", "with defaults", "null", "empty", "a text", "a list"],
)
async def test_an_earlier_job_whose_record_does_not_differ_is_reused(
    start: Any, tampered: Any, record: Any
) -> None:
    """What the record lacks proves nothing, and the gateway may add the defaults of parameters that
    weren't sent."""
    async with start() as bench:
        other = await earlier_job(bench, "zimage-base", FOX)
        result, row = await ended(bench, tampered, naming(other, record))
        state = await bench.state()
    assert result.exit_code == ExitCode.OK
    assert row.status == "succeeded"
    assert len(bench.outputs()) == 1
    assert len(state["jobs"]) == 1
