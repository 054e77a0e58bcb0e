"""A job that lists some of its outputs later than it says that it has succeeded: all are saved in
the end.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

import httpx
import pytest

from crucible_batch.core.events import Saved
from crucible_batch.core.progress import JobAdvanced

SHEET = "{name: a, prompt: one, workflow: zimage-sheet}"
JOB = "/api/v1/jobs/"

Listing = Callable[[int], Sequence[int]]
"""Which of the outputs 0 and 1 are listed at the n-th look that finds the job succeeded, from 0."""


class Gateway:
    """Shows of each job's outputs what ``listing`` says, under the numbers that ``rename`` gives
    them."""

    def __init__(
        self, tampered, listing: Listing, rename: Callable[[int], int] = lambda index: index
    ) -> None:
        self.listing = listing
        self.rename = rename
        self.looks: dict[str, int] = {}
        self.is_compared = False
        self.requests: list[str] = []
        self.refused: str | None = None
        self.transport = lambda: tampered(self._tamper)

    async def _tamper(self, request: httpx.Request, send) -> httpx.Response:
        self.requests.append(f"{request.method} {request.url.path}")
        if self.refused is not None and self.refused in request.url.path:
            return httpx.Response(404)
        answer = await send()
        if JOB not in request.url.path:
            return answer
        body = json.loads(await answer.aread())
        data = body["data"]
        if (
            not self.is_compared
        ):  # the first look compares the price in the record with the answer to the submit
            self.is_compared = True
            data |= {"status": "running", "outputs": []}
        if data["status"] == "succeeded":
            look = self.looks.get(data["job_id"], 0)
            self.looks[data["job_id"]] = look + 1
            shown = [data["outputs"][index] for index in self.listing(look)]
            data["outputs"] = [
                {**one, "output_index": self.rename(one["output_index"])} for one in shown
            ]
        return httpx.Response(200, json=body)


@pytest.mark.parametrize(
    "listing",
    [
        lambda look: [0, 1][: look + 1],
        lambda look: [1] if look == 0 else [0, 1],
        lambda look: [] if look < 3 else [0, 1],
        lambda look: [[0], [], [0, 1]][min(look, 2)],
        lambda look: [[0, 1], [0], [1], []][min(look, 3)],
        lambda look: [1, 0],
    ],
    ids=["grows", "grows-before", "empty", "empty-again", "shrinks", "reversed"],
)
async def test_every_output_that_is_ever_listed_is_saved_once(start, tampered, listing):
    gateway = Gateway(tampered, listing)
    async with start() as bench:
        result = await bench.run(bench.manifest(SHEET), transport=gateway.transport())
        whole = await bench.run(bench.manifest(SHEET), out_dir=bench.path / "true")
        await bench.agree(result)
    assert result.exit_code == 0
    (row,), (true,) = result.jobs(), whole.jobs()
    assert {output.sha256 for output in row.outputs} == {output.sha256 for output in true.outputs}
    assert [output.path for output in row.outputs] == [
        result.run_dir / "a/0.png",
        result.run_dir / "a/1.png",
    ]


@pytest.mark.parametrize(
    "rename",
    [lambda index: 1 + index, lambda index: 7 * index, lambda _index: 3],
    ids=["from-1", "gaps", "the-same"],
)
async def test_numbers_that_do_not_count_from_0_lose_nothing(start, tampered, rename):
    gateway = Gateway(tampered, lambda look: [0] if look == 0 else [0, 1], rename)
    async with start() as bench:
        result = await bench.run(bench.manifest(SHEET), transport=gateway.transport())
    (row,) = result.jobs()
    assert result.exit_code == 0
    assert [output.path for output in row.outputs][:2] == [
        result.run_dir / "a/0.png",
        result.run_dir / "a/1.png",
    ]
    assert len({output.sha256 for output in row.outputs}) == 2


async def test_a_run_that_ends_between_the_first_list_and_the_whole_one_is_made_whole_by_the_next(
    start, tampered, watcher
):
    gateway = Gateway(tampered, lambda look: [0] if look == 0 else [0, 1])

    def at_the_first(message: object) -> None:
        if isinstance(message, JobAdvanced) and isinstance(message.event, Saved):
            running.cancel()

    async with start() as bench:
        manifest = bench.manifest(SHEET)
        running = asyncio.create_task(
            bench.run(manifest, transport=gateway.transport(), observer=watcher(at_the_first))
        )
        with pytest.raises(asyncio.CancelledError):
            await running
        assert bench.outputs() == ["a/0.png"]
        again = await bench.run(manifest, transport=gateway.transport())
        state = await bench.agree(again)
    assert (again.exit_code, bench.outputs()) == (0, ["a/0.png", "a/1.png"])
    assert len(state["jobs"]) == 1


async def test_a_job_that_is_not_known_any_more_is_whole_with_what_it_listed(start, tampered):
    gateway = Gateway(tampered, lambda _look: [0])

    async def tamper(request: httpx.Request, send) -> httpx.Response:
        if JOB in request.url.path and gateway.looks:
            return httpx.Response(
                404, json={"success": False, "code": "JOB_NOT_FOUND", "error": "no"}
            )
        return await gateway._tamper(request, send)

    async with start() as bench:
        result = await bench.run(
            bench.manifest("{name: a, prompt: one}"), transport=tampered(tamper)
        )
    assert (result.exit_code, bench.outputs()) == (0, ["a/0.png"])


async def test_a_single_404_is_not_believed_of_a_job_that_was_known_seconds_ago(start, tampered):
    gateway = Gateway(tampered, lambda look: [0] if look == 0 else [0, 1])
    strays: list[httpx.Request] = []

    async def tamper(request: httpx.Request, send) -> httpx.Response:
        if JOB in request.url.path and gateway.looks and not strays:
            strays.append(request)
            return httpx.Response(
                404, json={"success": False, "code": "JOB_NOT_FOUND", "error": "no"}
            )
        return await gateway._tamper(request, send)

    async with start() as bench:
        result = await bench.run(bench.manifest(SHEET), transport=tampered(tamper))
    assert (len(strays), result.exit_code, bench.outputs()) == (1, 0, ["a/0.png", "a/1.png"])


async def test_a_run_that_is_left_does_not_wait_for_a_list_that_is_read_again(start, tampered):
    hung = asyncio.Event()

    async def tamper(request: httpx.Request, send) -> httpx.Response:
        if "/api/v1/jobs/" in request.url.path and any((bench.path / "out").rglob("*.png")):
            hung.set()
            await asyncio.sleep(60)
        return await send()

    async with start() as bench:
        result = await bench.run(
            bench.manifest("{name: a, prompt: one}"), deadline_s=200, transport=tampered(tamper)
        )
    assert (hung.is_set(), result.exit_code) == (True, 5)
