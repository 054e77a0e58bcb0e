"""Whatever ended a run, the same command goes on: nothing is bought twice, and the books agree with
the judge's.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from crucible_batch.core import events
from crucible_batch.core.progress import AssetAdvanced, JobAdvanced
from crucible_batch.errors import RunDirectoryError
from tests.harness.stopped_runs import STRIDE, THREE, Killer, stop_after

# A connection that is cancelled while it is made is left to the garbage collector, by httpx's own
# doing.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def pair(bench, n: object) -> str:
    """One job without an image and one with one that nobody has seen: 5.5 credits."""
    seed = random.Random(str(n)).randrange(2**24)
    bench.picture(f"{n}.png", f"#{seed:06x}")
    return (
        f"{{name: t, prompt: 'text {n}'}}\n"
        f"{{name: e, prompt: 'edit {n}', workflow: qwen-edit, image: {n}.png}}"
    )


async def test_a_run_with_a_filter_buys_no_other_job_that_a_killed_run_left_unsent(start, tampered):
    """The killed run was uploading its image, so its hold is released; a run without the filter
    buys it."""

    async def kill(request: httpx.Request, send) -> httpx.Response:
        if request.method == "PUT":
            killed.cancel()
            await asyncio.sleep(1)
        return await send()

    async with start() as bench:
        manifest = bench.manifest(pair(bench, 0), budget=20)
        killed = asyncio.ensure_future(bench.run(manifest, only=["e"], transport=tampered(kill)))
        with pytest.raises(asyncio.CancelledError):
            await killed
        filtered = await bench.run(manifest, only=["t"])
        await bench.agree(filtered)
        assert [(row.name, row.status) for row in filtered.jobs()] == [
            ("t", "succeeded"),
            ("e", "pending"),
        ]
        assert (filtered.exit_code, filtered.report.credits.held) == (0, 0)
        result = await bench.run(manifest)
        state = await bench.agree(result)
    assert (result.exit_code, len(state["jobs"])) == (0, 2)


def unseen_rebates(state) -> Decimal:
    """What may have come back unseen: a DELETE whose answer was lost is a 404 the next time, which
    names no rebate.
    """
    return sum(
        (Decimal("0.5") for asset in state["assets"] if asset["deleted_at"] is not None), Decimal(0)
    )


async def finish(bench, manifest: Path, n: object, taken_before: Decimal) -> None:
    """Go on until nothing is left, and hold what was bought against what was asked for."""
    result = await bench.run(
        manifest, run_id=f"r{n}", out_dir=bench.path / f"out-{n}", concurrency=2
    )
    assert result.exit_code == 0, (n, result.report)
    state = await bench.state()
    assert state["audit"]["problems"] == []
    assert state["violations"] == []
    assert state["keyless_posts"] == 0
    bought = [job["prompt"] for job in state["jobs"] if job["prompt"].endswith(f" {n}")]
    assert sorted(bought) == [f"edit {n}", f"text {n}"]
    books = result.report.credits
    taken = 1000 - state["audit"]["available"] - taken_before
    assert taken <= books.spent <= taken + unseen_rebates(state), n
    # An intent that never left looks just like one whose answer was lost: it counts until the end
    # of time.
    assert books.held == books.lost_uploads * Decimal("0.5")
    assert books.spent + books.held <= 6


async def test_a_run_that_ends_at_any_effect_is_finished_by_the_next_without_buying_anything_twice(
    start, tampered
):
    async with start() as bench:
        for n in itertools.count(0, STRIDE):
            taken = 1000 - (await bench.state())["audit"]["available"]
            manifest = bench.manifest(pair(bench, n), budget="6.0")
            killer = Killer(n)
            options = {"run_id": f"r{n}", "out_dir": bench.path / f"out-{n}", "concurrency": 2}
            await killer.run(bench, tampered, manifest, **options)
            await finish(bench, manifest, n, taken)
            if not killer.has_struck:
                break
    assert n > 30  # so many effects there are at least


@pytest.mark.parametrize("event", [events.Held, events.Intended, events.Uploaded])
async def test_one_worker_is_enough_to_continue_where_many_were_stopped(
    start, watcher, tally, event
):
    """The jobs in flight hold what the others wait for; a worker that waits in front of them would
    wait for ever."""
    async with start() as bench:
        for colour in ("red", "green", "blue"):
            bench.picture(f"{colour}.png", colour)
        edits = [
            f"{{name: e-{colour}, prompt: edit {colour}, workflow: qwen-edit, image: {colour}.png}}"
            for colour in ("red", "green", "blue")
        ]
        manifest = bench.manifest("\n".join([*edits, THREE]), budget="18")
        await stop_after(bench, watcher, manifest, event, 2 if event is events.Held else 1)
        result = await bench.run(manifest, concurrency=1)
        await bench_agrees_but_for_lost(bench, result)
    assert result.exit_code == 0
    assert tally(result) == {"succeeded": 6}


async def bench_agrees_but_for_lost(bench, result):
    state = await bench.state()
    assert result.report.credits.spent == 1000 - state["audit"]["available"]
    assert result.report.credits.held == result.report.credits.lost_uploads * Decimal("0.5")


async def test_a_worker_does_not_wait_for_credits_in_front_of_jobs_in_flight(
    start, tampered, tally
):
    """Its images under way, the first job starts anew; others have emptied the account, and there
    is one worker."""
    async with start(credits=10) as bench:
        bench.picture("a.png")
        work = "{name: e, prompt: edit, workflow: qwen-edit, image: a.png}\n{name: t, prompt: text}"
        manifest = bench.manifest(work, budget=10)

        async def stuck(request: httpx.Request, send):
            if request.url.path.endswith("/assets") and request.method == "POST":
                await asyncio.sleep(5)
            if request.url.path.startswith("/api/v1/jobs/"):
                task.cancel()
                await asyncio.sleep(5)
            return await send()

        task = asyncio.ensure_future(bench.run(manifest, transport=tampered(stuck), budget=100))
        with pytest.raises(asyncio.CancelledError):
            await task
        headers = {"authorization": f"Bearer {bench.running.api_key}"}
        other = {"workflow_id": "qwen-edit", "params": {}, "idempotency_key": "somebody-else"}
        for number in range(2):
            other["idempotency_key"] = f"somebody-{number}"
            await bench.http.post(
                f"{bench.running.api_url}/api/v1/generate", json=other, headers=headers
            )
        result = await bench.run(manifest, concurrency=1)
    assert result.exit_code == 4
    assert tally(result) == {"succeeded": 1, "blocked": 1}


async def test_a_job_that_failed_meanwhile_does_not_wait_for_credits_before_the_others_are_settled(
    start, watcher, tampered, tally
):
    """With one worker and no credit to spare, the retry of a failed job comes after the rest."""
    async with start(credits=6, faults="generate.fail=1") as bench:

        async def unseen(request: httpx.Request, send):
            return await send() if "/jobs/" not in request.url.path else httpx.Response(500)

        manifest = bench.manifest(THREE, budget=6)
        await stop_after(bench, watcher, manifest, events.Accepted, 3, transport=tampered(unseen))
        result = await bench.run(manifest, concurrency=1)
        state = await bench.agree(result)
    assert result.exit_code == 0
    assert tally(result) == {"succeeded": 3}
    assert len(state["jobs"]) == 4


async def test_renamed_reordered_and_inserted_rows_buy_the_new_ones_only(start, tally):
    async with start() as bench:
        await bench.run(bench.manifest(THREE))
        changed = (
            "{name: z, prompt: three}\n{name: new, prompt: four}\n{name: a, prompt: two}\n"
            "{name: b, prompt: one}"
        )
        result = await bench.run(bench.manifest(changed))
        state = await bench.agree(result)
    assert result.exit_code == 0
    assert [job["prompt"] for job in state["jobs"]] == ["one", "two", "three", "four"]
    assert [row.name for row in result.jobs()] == ["z", "new", "a", "b"]


async def test_a_machine_that_lost_everything_gets_every_picture_back_for_nothing(start, tmp_path):
    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(
            THREE + "\n{name: e, prompt: edit, workflow: qwen-edit, image: a.png}", budget="9.5"
        )
        first = await bench.run(manifest)
        before = {row.name: row.outputs[0].sha256 for row in first.jobs()}
        second = await bench.run(manifest, out_dir=tmp_path / "anew")
        state = await bench.state()
    assert second.exit_code == 0
    assert {row.name: row.outputs[0].sha256 for row in second.jobs()} == before
    assert (len(state["jobs"]), len(state["assets"])) == (4, 1)
    assert second.report.counts.reused == 4


async def test_what_is_done_is_neither_asked_for_nor_fetched_again(start):
    async with start() as bench:
        manifest = bench.manifest(THREE)
        await bench.run(manifest)
        before = (await bench.state())["requests"]
        again = await bench.run(manifest)
        after = (await bench.state())["requests"]
    assert again.exit_code == 0
    for operation in ("generate", "job", "download", "credits", "asset-create"):
        assert after.get(operation, 0) == before.get(operation, 0)


async def test_jobs_in_flight_that_the_manifest_dropped_are_settled_and_collected(start, watcher):
    async with start() as bench:
        await stop_after(bench, watcher, bench.manifest(THREE), events.Accepted, 3)
        result = await bench.run(bench.manifest("{name: d, prompt: four}"))
        await bench.agree(result)
    assert result.exit_code == 0
    assert result.report.credits.held == 0
    assert result.report.credits.spent == 8


async def test_the_run_directory_of_another_manifest_or_run_is_refused_before_anything_is_spent(
    start,
):
    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: one}"))
        with pytest.raises(RunDirectoryError, match="run id"):
            await bench.run(bench.manifest("{name: a, prompt: one}"), run_id="other")
        other = bench.manifest("{name: a, prompt: one}")
        other.write_text(other.read_text().replace("name: trial", "name: another"))
        with pytest.raises(RunDirectoryError, match="manifest"):
            await bench.run(other)
        assert len((await bench.state())["jobs"]) == 1


async def test_the_run_directory_of_another_account_is_refused_and_a_renewed_key_is_not(
    start,
):
    from crucible_batch.settings import Settings

    accounts = {"moltazine_sandbox": Decimal(50), "moltazine_other": Decimal(50)}
    async with start(accounts=accounts) as bench:
        manifest = bench.manifest("{name: a, prompt: one}")
        await bench.run(manifest)
        stranger = Settings(api_key="moltazine_other", base_url=bench.running.api_url)
        with pytest.raises(RunDirectoryError, match="another account"):
            await bench.run(manifest, settings=stranger)
        assert len((await bench.state())["jobs"]) == 1
        assert (await bench.run(manifest)).exit_code == 0


async def test_progress_tells_of_nothing_that_a_crash_could_take_back(start, watcher):
    """Whenever a message comes, the journal holds its event: read here by another connection."""
    from crucible_batch.journal import Journal

    told: list[tuple[str, str]] = []

    async with start() as bench:
        bench.picture("a.png")

        def look(message: object) -> None:
            if isinstance(message, JobAdvanced | AssetAdvanced):
                subject = (
                    message.identity
                    if isinstance(message, JobAdvanced)
                    else f"asset:{message.sha256}"
                )
                told.append((subject, type(message.event).__name__))
                with Journal.read(bench.path / "out") as journal:
                    written = [(name, type(event).__name__) for name, event in journal.events()]
                assert told[-1] in written

        work = "{name: t, prompt: one}\n{name: e, prompt: edit, workflow: qwen-edit, image: a.png}"
        result = await bench.run(bench.manifest(work), observer=watcher(look))
    assert result.exit_code == 0
    assert len(told) > 10
