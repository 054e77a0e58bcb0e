"""The journal is gone, or a key is old: what was bought comes back, and nothing is bought on a
guess.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from crucible_batch import delete_assets
from crucible_batch.core import events
from crucible_batch.errors import JournalError
from crucible_batch.features.registry import plan_kind_of
from crucible_batch.journal import store
from crucible_batch.runs.planning import plan_request
from crucible_batch.runs.request import RunRequest
from tests.harness.stopped_runs import THREE, stop_after

SHORT_JOBS = True

# See test_resume.py: connections that are cancelled while they are made.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

EDIT = "{name: e, prompt: edit, workflow: qwen-edit, image: a.png}"


async def requests(bench) -> Counter[str]:
    return Counter((await bench.state())["requests"])


def lose_the_journal(bench) -> None:
    shutil.rmtree(bench.path / "out" / ".crucible")


def receipts(bench) -> Path:
    return bench.path / "out" / "receipts.jsonl"


async def test_a_journal_that_is_no_database_is_moved_away_and_the_receipts_bring_all_back(start):
    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(f"{THREE}\n{EDIT}")
        await bench.run(manifest)
        journal = bench.path / "out/.crucible/journal.sqlite3"
        journal.write_bytes(b"garbage" * 1000)
        before = await requests(bench)
        with pytest.raises(JournalError, match="can't be read as a journal") as caught:
            await bench.run(manifest)
        assert caught.value.code == "JOURNAL"
        assert f"move {journal.parent} away" in (caught.value.hint or "")
        journal.parent.rename(bench.path / "away")
        assert (await bench.run(manifest)).exit_code == 0
        asked = await requests(bench) - before
    assert (asked["generate"], asked["asset-create"]) == (0, 0)


async def test_a_picture_whose_image_is_gone_comes_back_by_its_receipt_and_not_by_its_key(start):
    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(EDIT)
        await bench.run(manifest)
        await delete_assets(bench.path / "out", settings=bench.settings)
        receipt = receipts(bench).read_bytes()
        shutil.rmtree(bench.path / "out")
        refused = await bench.run(manifest)
        (row,) = refused.jobs()
        assert (row.status, row.error.code) == ("failed", "IDEMPOTENCY_KEY_REUSED")
        assert "the job was bought before" in row.error.hint
        assert "receipts.jsonl" in row.error.hint
        assert refused.report.credits.jobs == 0
        shutil.rmtree(bench.path / "out")
        receipts(bench).parent.mkdir()
        receipts(bench).write_bytes(receipt)
        before = await requests(bench)
        found = await bench.run(manifest)
        asked = await requests(bench) - before
        state = await bench.state()
    assert (found.exit_code, found.report.counts.reused) == (0, 1)
    assert (asked["generate"], asked["asset-create"]) == (0, 0)
    assert len(state["jobs"]) == 1


async def test_a_job_whose_key_is_known_with_another_image_is_bought_again_only_on_request(start):
    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(EDIT)
        await bench.run(manifest)
        await delete_assets(bench.path / "out", settings=bench.settings)
        shutil.rmtree(bench.path / "out")
        for options in ({}, {}, {"retry_failed": True}, {"resubmit_unknown": True}):
            assert (await bench.run(manifest, **options)).exit_code == 1
            assert len((await bench.state())["jobs"]) == 1
        request = RunRequest(manifest, out_dir=bench.path / "out", retry_failed=True)
        for resubmits, state in ((False, "failed"), (True, "new")):
            planned = await plan_request(
                replace(request, resubmit_unknown=resubmits), plan_kind_of, settings=bench.settings
            )
            assert (dict(planned.states), planned.is_settled) == ({state: 1}, not resubmits)
            assert [line.what for line in planned.lines] == (["qwen-edit"] if resubmits else [])
        again = await bench.run(manifest, retry_failed=True, resubmit_unknown=True)
        state = await bench.state()
        (row,) = again.jobs()
        assert (again.exit_code, len(state["jobs"])) == (0, 2)
        assert [attempt.status for attempt in row.attempts] == ["refused", "succeeded"]
        assert len({attempt.idempotency_key for attempt in row.attempts}) == 2
        assert again.report.credits.jobs == row.credits > 0
        assert (await bench.run(manifest, retry_failed=True, resubmit_unknown=True)).exit_code == 0
        assert len((await bench.state())["jobs"]) == 2


# --- receipts


async def test_a_finished_run_that_lost_its_journal_is_finished_still_and_only_looks_at_its_jobs(
    start,
):
    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(f"{THREE}\n{EDIT}")
        first = await bench.run(manifest)
        digests = [row.outputs[0].sha256 for row in first.jobs()]
        before = await requests(bench)
        lose_the_journal(bench)
        second = await bench.run(manifest)
        asked = await requests(bench) - before
    assert second.exit_code == 0
    assert (second.report.counts.succeeded, second.report.counts.reused) == (4, 4)
    assert second.report.credits.jobs == first.report.credits.jobs
    assert [row.outputs[0].sha256 for row in second.jobs()] == digests
    # One look at each job shows what it cost; nothing is submitted, uploaded or downloaded.
    assert set(asked) <= {"metadata", "job"}
    assert asked["job"] == 4


async def test_jobs_in_flight_are_collected_without_a_submit_where_only_the_journal_is_lost(
    start, watcher
):
    async with start() as bench:
        manifest = bench.manifest(THREE)
        await stop_after(bench, watcher, manifest, events.Accepted, 3)
        before = await requests(bench)
        lose_the_journal(bench)
        result = await bench.run(manifest)
        await bench.agree(result)
        asked = await requests(bench) - before
    assert result.exit_code == 0
    assert result.report.counts.reused == 3
    assert asked["generate"] == 0


@pytest.mark.parametrize("damage", ["removed", "receipt lies"])
async def test_an_output_that_is_not_what_its_receipt_says_is_fetched_again_for_nothing(
    start, damage
):
    async with start() as bench:
        manifest = bench.manifest("{name: a, prompt: one}")
        first = await bench.run(manifest)
        digest = next(first.jobs()).outputs[0].sha256
        lose_the_journal(bench)
        if damage == "removed":
            (bench.path / "out" / "a" / "0.png").unlink()
        else:
            text = receipts(bench).read_text()
            receipts(bench).write_text(text.replace(digest, "0" * 64))
        before = await requests(bench)
        result = await bench.run(manifest)
        await bench.agree(result)
        asked = await requests(bench) - before
    assert result.exit_code == 0
    assert asked["generate"] == 0
    assert asked["download"] >= 1
    assert [row.outputs[0].sha256 for row in result.jobs()] == [digest]


# --- recover


async def test_recover_brings_everything_back_from_a_gateway_that_remembers(start, tmp_path):
    async with start() as bench:
        bench.picture("a.png")
        manifest = bench.manifest(f"{EDIT}\n{THREE}", budget="9.5")
        first = await bench.run(manifest)
        second = await bench.run(manifest, out_dir=tmp_path / "anew", recover=True)
        state = await bench.state()
    assert second.exit_code == 0
    assert second.report.counts.reused == 4
    assert (len(state["jobs"]), len(state["assets"])) == (4, 1)
    assert [row.outputs[0].sha256 for row in second.jobs()] == [
        row.outputs[0].sha256 for row in first.jobs()
    ]
    assert any("found at the gateway and used again" in note for note in second.report.notes)


async def test_recover_from_a_gateway_that_has_forgotten_buys_one_job_and_says_what_it_cost(start):
    async with start() as bench:
        result = await bench.run(bench.manifest(THREE), recover=True)
        state = await bench.agree(result)
    assert result.exit_code == 5
    assert len(state["jobs"]) == 1
    assert Counter(row.status for row in result.jobs()) == {"succeeded": 1, "pending": 2}
    (stop,) = result.report.stops.values()
    assert stop.code == "NOT_REMEMBERED"
    assert "2 credits" in stop.message


async def test_recover_asks_with_a_job_that_needs_no_image_and_never_buys_an_upload(start):
    async with start() as bench:
        bench.picture("a.png")
        with_text = await bench.run(bench.manifest(f"{EDIT}\n{THREE}"), recover=True)
        assert [row.name for row in with_text.jobs() if row.status == "succeeded"] == ["a"]
        images_only = await bench.run(
            bench.manifest(EDIT), out_dir=bench.path / "other", recover=True
        )
        state = await bench.state()
    assert images_only.exit_code == 5
    assert images_only.report.credits.spent == 0
    assert (len(state["jobs"]), len(state["assets"])) == (1, 0)


# --- more that a journal may have forgotten


async def test_an_old_copy_of_the_journal_learns_the_rest_from_the_receipts(start):
    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: one}"))
        shutil.copytree(bench.path / "out" / ".crucible", bench.path / "yesterday")
        manifest = bench.manifest(THREE)
        full = await bench.run(manifest)
        lose_the_journal(bench)
        shutil.copytree(bench.path / "yesterday", bench.path / "out" / ".crucible")
        before = await requests(bench)
        again = await bench.run(manifest)
        asked = await requests(bench) - before
    assert again.exit_code == 0
    assert again.report.credits.jobs == full.report.credits.jobs
    assert (asked["generate"], asked["download"]) == (0, 0)


async def test_an_upload_in_doubt_whose_price_an_old_copy_never_saw_is_named_lost_and_holds_nothing(
    start, tampered
):
    lost = False

    async def tamper(request: httpx.Request, send):
        nonlocal lost
        if request.url.path.endswith("/assets") and request.method == "POST":
            await (await send()).aread()
            lost = True
        if lost:
            raise httpx.ReadError("lost")
        return await send()

    async with start() as bench:
        bench.picture("a.png")
        out, copy, manifest = bench.path / "out", bench.path / "yesterday", bench.manifest(EDIT)
        assert (await bench.run(manifest, transport=tampered(tamper))).exit_code == 5
        shutil.copytree(out, copy)
        full = await bench.run(manifest)  # gives the first upload back, and buys another
        shutil.rmtree(out)
        copy.rename(out)
        again = await bench.run(manifest)
        state = await bench.state()
    assert (full.exit_code, full.report.credits.lost_uploads, again.exit_code) == (0, 0, 0)
    books = again.report.credits
    assert (books.lost_uploads, books.uploads, books.held) == (1, 0, 0)
    assert books.jobs == full.report.credits.jobs == state["audit"]["spent_on_jobs"]
    assert len(state["assets"]) == 2


class Killed(BaseException):
    """Ends whatever is going on, as a kill would."""


async def test_a_restore_that_is_cut_off_leaves_a_journal_that_knows_it_has_forgotten(
    start, monkeypatch
):
    written = 0
    original = store.encode_event

    def killed_in_the_middle(event):
        nonlocal written
        written += 1
        if written == 7:
            raise Killed
        return original(event)

    async with start() as bench:
        manifest = bench.manifest(THREE)
        await bench.run(manifest)
        lose_the_journal(bench)
        before = await requests(bench)
        with monkeypatch.context() as patched:
            patched.setattr(store, "encode_event", killed_in_the_middle)
            task = asyncio.ensure_future(bench.run(manifest))
            with pytest.raises(Killed):
                await task
        again = await bench.run(manifest)
        asked = await requests(bench) - before
    assert written == 7
    assert again.exit_code == 0
    assert asked["generate"] == 0


async def test_what_was_found_again_is_told_apart_from_what_was_bought(start, tmp_path):
    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: one}"))
        second = await bench.run(bench.manifest(THREE), out_dir=tmp_path / "anew")
    assert (second.report.credits.spent, second.report.credits.reused) == (6, 2)


async def test_a_run_that_leaves_jobs_behind_says_what_they_met(start):
    async with start(faults="job.500-before:1") as bench:
        result = await bench.run(bench.manifest("{name: a, prompt: one}\n{name: b, prompt: two}"))
    assert result.exit_code == 5
    (stop,) = result.report.stops.values()
    assert stop.code.startswith(("HTTP_5", "INTERNAL"))
