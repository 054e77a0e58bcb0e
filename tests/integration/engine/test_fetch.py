"""Outputs that come late, short, or under links that have expired: fetched again for nothing, or
said to be missing.
"""

from __future__ import annotations

import hashlib

import httpx
import pytest

SHORT_JOBS = True

ONE = "{name: a, prompt: one}"


@pytest.mark.parametrize(
    "fault",
    [
        "download.short-body=2",
        "download.short-unsized=2",
        "download.error-page=2",
        "download.drop-before=2",
        "download.drop-after=2",
        "download.500-before=2",
        "download.empty=2",
        "job.expired-url=2",
        "job.503-before=2",
        "job.drop-after=2",
        "job.html=1",
    ],
)
async def test_a_download_that_goes_wrong_is_tried_again_and_the_file_is_whole(start, fault):
    async with start(faults=fault) as bench:
        result = await bench.run(bench.manifest(ONE, budget=2))
        state = await bench.agree(result)
        (row,) = result.jobs()
        content = (bench.path / "out" / row.outputs[0].path).read_bytes()
    assert result.exit_code == 0
    assert hashlib.sha256(content).hexdigest() == row.outputs[0].sha256
    assert len(content) == row.outputs[0].byte_size
    assert (row.outputs[0].width, row.outputs[0].height, row.outputs[0].mime_type) == (
        64,
        64,
        "image/png",
    )
    assert len(bench.outputs()) == 1
    assert state["faults_fired"]


@pytest.mark.parametrize(
    "fault", ["download.error-page:1", "download.short-unsized:1", "job.expired-url:1"]
)
async def test_an_output_that_can_not_be_had_is_paid_for_reported_and_fetched_by_the_next_run(
    start, fault
):
    async with start(faults=fault) as bench:
        manifest = bench.manifest(ONE, budget=2)
        first = await bench.run(manifest)
        (row,) = first.jobs()
        assert first.exit_code == 1
        assert (row.status, row.error.code) == ("failed", "OUTPUT_UNAVAILABLE")
        assert first.report.credits.spent == 2
        assert bench.outputs() == []
        await bench.configure(faults="")
        second = await bench.run(manifest)
        state = await bench.agree(second)
    assert second.exit_code == 0
    assert len(state["jobs"]) == 1
    assert len(bench.outputs()) == 1


async def test_a_job_of_two_outputs_fetches_the_missing_one_only(start, tampered):
    second_refused = True
    asked: list[str] = []

    async def tamper(request: httpx.Request, send):
        if "/crucible-outputs/" in request.url.path:
            asked.append(request.url.path.rpartition("/")[2])
            if request.url.path.endswith("1.png") and second_refused:
                return httpx.Response(404)
        return await send()

    async with start() as bench:
        manifest = bench.manifest("{name: s, prompt: sheet, workflow: zimage-sheet}", budget="3.5")
        manifest.write_text(
            manifest.read_text().replace("workflow: zimage-base\n", "workflow: zimage-sheet\n")
        )
        first = await bench.run(manifest, transport=tampered(tamper))
        assert first.exit_code == 1
        assert len(bench.outputs()) == 1
        second_refused = False
        asked.clear()
        second = await bench.run(manifest, transport=tampered(tamper))
        await bench.agree(second)
        (row,) = second.jobs()
    assert second.exit_code == 0
    assert asked == ["1.png"]
    assert [output.index for output in row.outputs] == [0, 1]
    assert all(isinstance(output.saved_at, float) for output in row.outputs)


async def test_a_job_that_succeeded_without_outputs_is_asked_again_and_then_said_to_be_missing_one(
    start, tampered
):
    bare = True

    async def tamper(request: httpx.Request, send):
        answer = await send()
        if request.url.path.startswith("/api/v1/jobs/") and bare:
            await answer.aread()
            body = answer.json()
            body["data"]["outputs"] = []
            return httpx.Response(200, json=body)
        return answer

    async with start() as bench:
        manifest = bench.manifest(ONE)
        first = await bench.run(manifest, transport=tampered(tamper))
        assert first.exit_code == 1
        assert first.report.credits.spent == 2
        bare = False
        second = await bench.run(manifest, transport=tampered(tamper))
        state = await bench.agree(second)
    assert second.exit_code == 0
    assert len(state["jobs"]) == 1
