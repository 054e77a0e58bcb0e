"""A deadline covers the whole command: what comes before the first purchase, and the cleaning up
behind the last.
"""

from __future__ import annotations

import asyncio
import signal
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

import crucible_batch as api
from crucible_batch.errors import DeadlineError
from crucible_batch.manifest import load_manifest
from crucible_batch.runs import running
from crucible_batch.runs.cancellation import Deadline
from crucible_batch.settings import Settings
from tests.harness.bench import Tampered

NOBODY = Settings(api_key=None)


def silent_at(*places: tuple[str, str], asked: list[str] | None = None) -> Tampered:
    """A transport that waits for ever at the requests of that method and with that part in their
    path."""

    async def tamper(request: httpx.Request, send: Any) -> httpx.Response:
        if any(request.method == method and part in request.url.path for method, part in places):
            if asked is not None:
                asked.append(request.url.path)
            await asyncio.Event().wait()
        answer: httpx.Response = await send()
        return answer

    return Tampered(tamper)


@pytest.mark.parametrize("place", [("GET", "/metadata"), ("GET", "/credits"), ("GET", "/assets")])
async def test_a_gateway_that_says_nothing_before_the_run_is_waited_for_until_the_deadline(
    start, place
):
    async with start() as bench:
        image = bench.picture("a.png")
        job = f"{{name: a, prompt: a, workflow: qwen-edit, image: {image}}}"
        asked: list[str] = []
        with pytest.raises(DeadlineError) as caught:
            await bench.run(
                bench.manifest(job, budget=None),
                confirm=lambda _summary: True,
                deadline_s=0.5,
                transport=silent_at(place, asked=asked),
            )
        assert asked
        assert (caught.value.code, caught.value.exit_code) == ("DEADLINE", 5)
        assert "nothing was bought" in caught.value.message
        state = await bench.state()
        assert (state["jobs"], state["assets"]) == ([], [])


@pytest.mark.parametrize("place", [("GET", "/metadata"), ("GET", "/credits"), ("GET", "/assets")])
async def test_a_plan_waits_for_a_gateway_that_says_nothing_until_the_deadline(start, place):
    async with start() as bench:
        job = f"{{name: a, prompt: a, workflow: qwen-edit, image: {bench.picture('a.png')}}}"
        settings = Settings(api_key="moltazine_sandbox", base_url=bench.running.api_url)
        planning = api.plan(
            bench.manifest(job), settings=settings, transport=silent_at(place), deadline_s=0.5
        )
        with pytest.raises(DeadlineError):
            await asyncio.wait_for(planning, 30)


def test_reading_a_manifest_to_plan_ends_with_the_deadline_too(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "version: 1\nname: a\njobs:\n" + "".join(f"- {{name: a{n}}}\n" for n in range(200)) + "- {"
    )
    with pytest.raises(DeadlineError):
        asyncio.run(api.plan(path, settings=NOBODY, deadline_s=1e-9))


async def test_whose_a_directory_is_is_asked_until_the_deadline(start):
    async with start(
        accounts={"moltazine_sandbox": Decimal(100), "moltazine_other": Decimal(100)}
    ) as bench:
        manifest = bench.manifest("{name: a, prompt: a}")
        assert (await bench.run(manifest)).ok
        other = Settings(api_key="moltazine_other", base_url=bench.running.api_url)
        transport = silent_at(("GET", "/jobs/"))
        with pytest.raises(DeadlineError):
            await bench.run(manifest, settings=other, deadline_s=0.5, transport=transport)


async def test_what_planning_has_used_is_no_longer_there_for_the_run(start, monkeypatch):
    seen: list[float | None] = []
    make = running.make_runner

    def runner(context: Any, started: Any, terms: Any, options: Any, rows: Any) -> Any:
        seen.append(options.deadline_s)
        return make(context, started, terms, options, rows)

    monkeypatch.setattr(running, "make_runner", runner)
    async with start() as bench:
        began = time.monotonic()
        await bench.run(bench.manifest("{name: a, prompt: a}"), deadline_s=1000)
        assert seen[0] is not None
        assert 1000 - (time.monotonic() - began) <= seen[0] < 1000


async def test_images_are_not_deleted_beyond_the_deadline_and_the_run_has_succeeded(
    start, monkeypatch, caplog
):
    deadline = Deadline(100)
    monkeypatch.setattr(running, "Deadline", lambda _seconds: deadline)
    write = running.write_report_of

    def reported(*args: Any) -> Any:
        deadline._end = time.monotonic() + 0.05
        return write(*args)

    monkeypatch.setattr(running, "write_report_of", reported)
    async with start() as bench:
        image = bench.picture("a.png")
        job = f"{{name: a, prompt: a, workflow: qwen-edit, image: {image}}}"
        manifest = bench.manifest(job, head="assets: {cleanup: on_success}\n")
        result = await bench.run(
            manifest, deadline_s=100, transport=silent_at(("DELETE", "/assets/"))
        )
        assert result.ok
        assert "uploaded images could not be deleted (the deadline has passed" in caplog.text


def over() -> None:
    raise DeadlineError


@pytest.mark.parametrize(
    "jobs",
    [
        "".join(f"- {{name: a{n}, prompt: a}}\n" for n in range(200)),
        "- {name: a, prompt: a, repeat: 200}\n",
    ],
    ids=["many entries", "one entry"],
)
def test_reading_and_planning_await_nothing_and_end_with_the_deadline_too(
    tmp_path: Path, jobs: str
) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(f"version: 1\nname: a\nworkflow: z\nbudget: {{credits: 1}}\njobs:\n{jobs}")
    with pytest.raises(DeadlineError):
        asyncio.run(api.run(path, settings=NOBODY, deadline_s=1e-9))


def test_a_long_list_is_not_read_to_its_end_once_the_time_is_over(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "version: 1\nname: a\njobs:\n" + "".join(f"- {{name: a{n}}}\n" for n in range(200)) + "- {"
    )
    with pytest.raises(DeadlineError):  # and not what is wrong at the end of the file
        load_manifest(path, watch=over)


@pytest.mark.parametrize("at", ["read_source", "start_run"])
def test_ctrl_c_before_the_run_ends_at_once_what_awaits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    went_on: list[str] = []
    do = getattr(running, at)

    def interrupted(*args: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        went_on.append(at)
        return do(*args)

    monkeypatch.setattr(running, at, interrupted)
    path = tmp_path / "m.yaml"
    path.write_text(
        "version: 1\nname: a\nworkflow: z\nbudget: {credits: 1}\njobs: [{name: a, prompt: a}]"
    )
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(api.run(path, settings=NOBODY, handle_signals=True))
    assert went_on == []


PACES = [
    ({}, (3, 500)),
    ({"concurrency": 7}, (7, 500)),
    ({"concurrency": "auto"}, (None, 500)),
    ({"deadline_s": 900}, (3, 900)),
]


@pytest.mark.parametrize(("given", "expected"), PACES)
async def test_the_manifests_pace_is_used_where_the_call_chooses_none(
    start, monkeypatch, given, expected
):
    seen: list[Any] = []
    make = running.make_runner

    def runner(context: Any, started: Any, terms: Any, options: Any, rows: Any) -> Any:
        seen.append(options)
        return make(context, started, terms, options, rows)

    monkeypatch.setattr(running, "make_runner", runner)
    async with start() as bench:
        manifest = bench.manifest("{name: a, prompt: a}", head="concurrency: 3\ndeadline: 500\n")
        assert (await bench.run(manifest, **given)).ok
    (options,) = seen
    concurrency, deadline_s = expected
    assert options.concurrency == concurrency
    assert deadline_s - 100 < options.deadline_s < deadline_s


async def test_the_manifests_deadline_counts_from_the_call_and_limits_the_question(start):
    asked: list[float | None] = []
    async with start() as bench:
        manifest = bench.manifest("{name: a, prompt: a}", budget=None, head="deadline: 500\n")
        assert (
            await bench.run(manifest, confirm=lambda plan: asked.append(plan.left_s) or True)
        ).ok
    assert asked[0] is not None
    assert 400 < asked[0] < 500
