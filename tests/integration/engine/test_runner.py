"""How runs end before their work is done: signals, deadlines, timeouts, failing gateways, and a
choice of jobs.
"""

from __future__ import annotations

import asyncio
import itertools
import threading

import httpx
import pytest

from crucible_batch.core import events
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.progress import JobAdvanced, RunBegan, RunEnded, Stopping
from crucible_batch.engine import runner as runner_module
from crucible_batch.errors import ExitCode, KeyRefusedError
from crucible_batch.journal import group_commit
from crucible_batch.journal.group_commit import GroupCommitWriter
from tests.harness.stopped_runs import stop_after

MANY = "\n".join(f"{{name: j{i:02}, prompt: 'picture {i}'}}" for i in range(12))


async def test_ctrl_c_buys_nothing_more_collects_what_is_in_flight_and_the_next_run_continues(
    start, watcher, runners, tally
):
    accepted = itertools.count(1)

    def press(message: object) -> None:
        if isinstance(getattr(message, "event", None), events.Accepted) and next(accepted) == 3:
            runners[-1].control.interrupt(ExitCode.SIGINT)

    seen = watcher(press)
    async with start() as bench:
        manifest = bench.manifest(MANY, budget=100)
        result = await bench.run(manifest, observer=seen, concurrency=3)
        state = await bench.agree(result)
        assert result.exit_code == 130
        assert result.report.status == "interrupted"
        assert result.report.credits.held == 0
        counts = tally(result)
        assert 3 <= counts["succeeded"] <= 5
        assert counts["succeeded"] == len(state["jobs"])
        assert counts["pending"] == 12 - counts["succeeded"]
        again = await bench.run(manifest)
        await bench.agree(again)
    assert any(isinstance(message, Stopping) for message in seen.messages)
    assert again.exit_code == 0
    assert again.report.credits.spent == 24


async def test_after_ctrl_c_what_an_earlier_run_left_in_flight_is_collected_all_the_same(
    start, watcher, runners, tally
):
    def press(message: object) -> None:
        if (
            isinstance(getattr(message, "event", None), events.Succeeded)
            and not runners[-1].stop.no_more
        ):
            runners[-1].control.interrupt(ExitCode.SIGINT)

    async with start() as bench:
        manifest = bench.manifest(MANY, budget=100)
        await stop_after(bench, watcher, manifest, events.Accepted, 3, concurrency=3)
        result = await bench.run(manifest, observer=watcher(press), concurrency=1)
        state = await bench.agree(result)
    assert (result.exit_code, result.report.credits.held) == (130, 0)
    assert tally(result)["succeeded"] == len(state["jobs"]) >= 3


@pytest.mark.parametrize(("signal", "code"), [(ExitCode.SIGINT, 130), (ExitCode.SIGTERM, 143)])
async def test_a_second_signal_leaves_at_once_and_what_is_in_flight_stays_held(
    start, watcher, runners, tally, signal, code
):
    def press(message: object) -> None:
        if isinstance(getattr(message, "event", None), events.Accepted):
            runners[-1].control.interrupt(signal)
            runners[-1].control.interrupt(signal)

    async with start(faults="generate.slow-queue:1", slow_queue_s=1000.0) as bench:
        manifest = bench.manifest(MANY, budget=24)
        result = await bench.run(manifest, observer=watcher(press))
        await bench.agree(result)
        assert result.exit_code == code
        assert result.report.credits.spent == 0
        assert result.report.credits.held == 2
        await bench.configure(faults="", advance_s=2000)
        again = await bench.run(manifest)
        state = await bench.agree(again)
    assert again.exit_code == 0
    assert len(state["jobs"]) == 12


async def test_the_grace_time_ends_what_would_never_end(start, watcher, runners, monkeypatch):
    def press(message: object) -> None:
        if isinstance(getattr(message, "event", None), events.Accepted):
            object.__setattr__(runners[-1]._options, "grace_s", 0.02)
            runners[-1].control.interrupt(ExitCode.SIGINT)

    async with start(faults="generate.slow-queue:1", slow_queue_s=100000.0) as bench:
        result = await bench.run(bench.manifest(MANY, budget=24), observer=watcher(press))
        await bench.agree(result)
    assert result.exit_code == 130
    assert result.report.credits.held == 2


async def test_a_run_that_still_looks_for_a_lost_upload_can_be_stopped_too(
    start, watcher, runners, tampered
):
    looked = 0

    async def tamper(request: httpx.Request, send):
        nonlocal looked
        if request.url.path.endswith("/assets") and request.method == "POST":
            task.cancel()
            await asyncio.sleep(5)
        looked += request.url.path.endswith("/assets")
        if (
            looked == 3
        ):  # the first run's list, then the second's, then the first look for the nonce
            runners[-1].control.interrupt(ExitCode.SIGINT)
            runners[-1].control.interrupt(ExitCode.SIGINT)
        return await send()

    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest("{name: e, prompt: edit, workflow: qwen-edit, image: a.png}")
        task = asyncio.ensure_future(bench.run(manifest, transport=tampered(tamper)))
        with pytest.raises(asyncio.CancelledError):
            await task
        result = await bench.run(manifest, transport=tampered(tamper))
    assert result.exit_code == 130
    assert looked == 3
    assert result.report.credits.lost_uploads == 0


async def test_a_job_that_times_out_keeps_its_hold_stops_the_buying_and_is_collected_later(
    start, tally
):
    async with start(faults="generate.slow-queue=1", slow_queue_s=100000.0) as bench:
        manifest = bench.manifest("{name: a, prompt: one}\n{name: b, prompt: two}", budget=10)
        result = await bench.run(manifest, job_timeout_s=3.0)
        await bench.agree(result)
        rows = list(result.jobs())
        assert result.exit_code == 5
        assert rows[0].status == "pending"
        assert result.report.credits.held == 2
        assert {stop.code for stop in result.report.stops.values()} == {"JOB_TIMEOUT"}
        await bench.configure(advance_s=200000)
        again = await bench.run(manifest)
        state = await bench.agree(again)
    assert again.exit_code == 0
    assert len(state["jobs"]) == 2


async def test_a_deadline_ends_the_run_with_5_in_the_middle_of_its_queue(start, tally, monkeypatch):
    """The queue reads the journal; left half read, it would keep the run's end unwritten."""
    kept = []
    original = runner_module.Runner._queue
    monkeypatch.setattr(
        runner_module.Runner, "_queue", lambda *args: kept.append(original(*args)) or kept[-1]
    )
    async with start(faults="generate.slow-queue:1", slow_queue_s=100000.0) as bench:
        manifest = bench.manifest(MANY, budget=100)
        result = await bench.run(manifest, deadline_s=100.0, concurrency=2)
        await bench.agree(result)
        assert result.exit_code == 5
        assert tally(result) == {"pending": 12}
        assert result.report.credits.held == 4
        await bench.configure(faults="", advance_s=200000)
        again = await bench.run(manifest)
        await bench.agree(again)
    assert again.exit_code == 0


async def test_a_run_for_some_jobs_only_buys_those(start, tally):
    async with start() as bench:
        manifest = bench.manifest(MANY, budget=100)
        result = await bench.run(manifest, only=["j0[0-2]", "j11"])
        state = await bench.agree(result)
        assert result.exit_code == 0
        assert len(state["jobs"]) == 4
        assert tally(result) == {"succeeded": 4, "pending": 8}
        rest = await bench.run(manifest)
        await bench.agree(rest)
    assert rest.exit_code == 0
    assert rest.report.credits.spent == 24


async def test_a_run_tells_how_it_began_and_ended_and_of_every_event_in_between(start, watcher):
    seen = watcher()
    async with start() as bench:
        result = await bench.run(bench.manifest("{name: a, prompt: one}", budget=5), observer=seen)
    first, *middle, last = seen.messages
    assert isinstance(first, RunBegan)
    assert (first.total, first.balance.left) == (1, 5)
    assert isinstance(last, RunEnded)
    assert last.ending.exit_code == result.exit_code
    assert [
        type(message.event).__name__ for message in middle if isinstance(message, JobAdvanced)
    ] == [
        "Held",
        "Accepted",
        "Succeeded",
        "Saved",
        "Listed",
    ]


async def test_a_run_that_is_cancelled_ends_at_once_and_leaves_no_task_behind(start, watcher):
    began = asyncio.Event()
    async with start(faults="generate.slow-queue:1", slow_queue_s=100000.0) as bench:
        before = asyncio.all_tasks()
        task = asyncio.ensure_future(
            bench.run(bench.manifest(MANY), observer=watcher(lambda _: began.set()))
        )
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        left = {
            one
            for one in asyncio.all_tasks() - before
            if "crucible_batch.engine" in repr(one.get_coro())
        }
    assert not left


LEAVING = {
    "a second Ctrl-C": lambda runner: [runner.control.interrupt(ExitCode.SIGINT) for _ in range(2)],
    "the deadline": lambda runner: runner.stop.leave(
        ExitCode.STOPPED, ErrorInfo("DEADLINE", "it has passed")
    ),
    "a refused key": lambda runner: runner.stop.failed(
        KeyRefusedError("no such key", code="UNAUTHORIZED")
    ),
}


@pytest.mark.parametrize("leave", LEAVING.values(), ids=LEAVING)
async def test_what_was_still_on_its_way_to_the_journal_when_the_run_was_left_is_read_back(
    start, watcher, runners, monkeypatch, leave
):
    """A refusal whose commit is under way, and whose worker is cancelled: the job is failed, and
    declines nothing.
    """
    on_disk = threading.Event()
    write, commit = GroupCommitWriter.write, group_commit._commit

    def refuses(statements):
        return any("Refused" in values for _, values in statements)

    async def leaving_write(self, *statements):
        if refuses(statements):
            asyncio.get_running_loop().call_soon(leave, runners[-1])
        try:
            await write(self, *statements)
        except asyncio.CancelledError:
            on_disk.set()
            raise

    def slow_commit(connection, batch):
        if any(refuses(each.statements) for each in batch):
            on_disk.wait(5)
        commit(connection, batch)

    monkeypatch.setattr(GroupCommitWriter, "write", leaving_write)
    monkeypatch.setattr(group_commit, "_commit", slow_commit)
    async with start() as bench:
        image = bench.path / bench.picture("a.png")
        manifest = bench.manifest("{name: e, prompt: edit, workflow: qwen-edit, image: a.png}")
        changes = watcher(
            lambda message: image.write_bytes(b"other bytes") if type(message) is RunBegan else None
        )
        result = await bench.run(manifest, observer=changes)
        await bench.agree(result)
        (row,) = result.jobs()
    assert result.exit_code in {3, 5, 130}
    assert (row.status, row.error.code) == ("failed", "INPUT_CHANGED")
    assert result.report.credits.held == 0
