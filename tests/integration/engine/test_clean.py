"""Assets deleted for their rebate: only ours, only those no unfinished job needs, each once."""

from __future__ import annotations

import logging
from decimal import Decimal

import httpx
import pytest

import crucible_batch as api
from crucible_batch import delete_assets
from crucible_batch.core.asset import KeepReason
from crucible_batch.errors import ConsentError, RunBusyError, RunDirectoryError
from crucible_batch.journal import lock_run_directory
from crucible_batch.settings import Settings

SHORT_JOBS = True

NOBODY = Settings(api_key=None, base_url="http://127.0.0.1:9")


def edit(name: str, image: str) -> str:
    return f"{{name: {name}, prompt: {name}, workflow: qwen-edit, image: {image}}}"


async def ready_assets(bench) -> list[str]:
    return [
        asset["asset_id"]
        for asset in (await bench.state())["assets"]
        if asset["deleted_at"] is None
    ]


async def test_a_finished_run_gets_its_uploads_back_and_runs_again_for_nothing(start):
    async with start() as bench:
        one, two = bench.picture("1.png"), bench.picture("2.png", "navy")
        manifest = bench.manifest("\n".join([edit("a", one), edit("b", two), edit("c", two)]))
        first = await bench.run(manifest)
        cleaning = await delete_assets(bench.path / "out", settings=bench.settings)
        assert (len(cleaning.deleted), cleaning.rebates, cleaning.exit_code) == (2, 1, 0)
        assert sorted(fate.filename for fate in cleaning.deleted) == ["1.png", "2.png"]
        assert await ready_assets(bench) == []
        status = api.read_status(bench.path / "out")
        assert status.report.credits.rebates == 1
        assert status.report.credits.spent == first.report.credits.spent - 1
        await bench.agree(status)
        again = await bench.run(manifest)
        state = await bench.agree(again)
        assert (again.ok, len(state["assets"]), state["requests"]["generate"]) == (True, 2, 3)
        # Nothing is left to delete, and a new job uploads its image again.
        assert (await delete_assets(bench.path / "out", settings=NOBODY)).fates == ()
        more = await bench.run(
            bench.manifest("\n".join([edit("a", one), edit("b", two), edit("d", one)]))
        )
        state = await bench.agree(more)
        assert (more.ok, len(state["assets"])) == (True, 3)


async def test_what_an_unfinished_job_needs_stays(start):
    async with start() as bench:
        one, two = bench.picture("1.png"), bench.picture("2.png", "navy")
        jobs = "\n".join([edit("a", one), edit("b", two), edit("c", two)])
        stopped = await bench.run(bench.manifest(jobs, budget="7.5"))
        assert (stopped.report.counts.succeeded, stopped.report.counts.blocked) == (2, 1)
        cleaning = await delete_assets(bench.path / "out", settings=bench.settings)
        assert {fate.filename: fate.stays for fate in cleaning.fates} == {
            "1.png": None,
            "2.png": KeepReason.NEEDED,
        }
        assert {fate.because for fate in cleaning.fates} == {None, "c"}
        finished = await bench.run(bench.manifest(jobs))
        state = await bench.agree(finished)
    assert finished.ok
    assert len(state["assets"]) == 2


async def test_what_a_job_that_left_the_manifest_has_in_flight_stays(start):
    async with start() as bench:
        one = bench.picture("1.png")
        await bench.configure(
            faults="generate.drop-after:1"
        )  # sent, and nobody knows what became of it
        await bench.run(bench.manifest(edit("a", one)))
        await bench.configure(faults="")
        await bench.run(bench.manifest("{name: t, prompt: text}"))
        cleaning = await delete_assets(bench.path / "out", settings=bench.settings)
        assert [(fate.stays, fate.because) for fate in cleaning.fates] == [(KeepReason.NEEDED, "a")]
        assert len(await ready_assets(bench)) == 1


async def test_an_upload_of_another_run_is_left_to_it_unless_found_ones_are_asked_for(start):
    async with start() as bench:
        one = bench.picture("1.png")
        manifest = bench.manifest(edit("a", one))
        await bench.run(manifest, out_dir=bench.path / "outputs/trial/x", run_id="x")
        await bench.run(manifest, out_dir=bench.path / "outputs/trial/y", run_id="y")
        second = bench.path / "outputs/trial/y"
        cleaning = await delete_assets(second, settings=bench.settings)
        assert [(fate.stays, fate.charged) for fate in cleaning.fates] == [(KeepReason.FOUND, 0)]
        assert len(await ready_assets(bench)) == 1
        assert (
            await delete_assets(second, found=True, settings=bench.settings)
        ).rebates == Decimal("0.5")
        assert await ready_assets(bench) == []
        # The run that uploaded it finds it gone: that counts as deleted, and its rebate came back
        # once.
        late = await delete_assets(bench.path / "outputs/trial/x", settings=bench.settings)
        assert [fate.rebate for fate in late.fates] == [0]


async def test_what_an_unfinished_job_of_another_directory_needs_stays_until_that_is_done(start):
    async with start() as bench:
        one = bench.picture("1.png")
        ours, theirs = bench.path / "outputs/trial/default", bench.path / "outputs/other/default"
        await bench.run(bench.manifest(edit("a", one)), out_dir=ours)
        jobs = f"{{name: t, prompt: text}}\n{edit('z', one)}"
        other = bench.manifest(jobs, budget=2).rename(bench.path / "other.yaml")
        other.write_text(other.read_text().replace("name: trial", "name: other"))
        assert (await bench.run(other, out_dir=theirs)).exit_code == 4
        cleaning = await delete_assets(ours, settings=bench.settings)
        assert [(fate.stays, fate.because) for fate in cleaning.fates] == [
            (KeepReason.SHARED, str(theirs))
        ]
        assert (await bench.run(other, out_dir=theirs, budget=9)).ok
        assert (await delete_assets(ours, settings=bench.settings)).rebates == Decimal("0.5")


async def test_only_directories_that_share_a_home_are_looked_at(start):
    async with start() as bench:
        manifest = bench.manifest(edit("a", bench.picture("1.png")))
        await bench.run(manifest, out_dir=bench.path / "project/here")
        for place in ("other/here", "project/broken"):
            (bench.path / place / ".crucible").mkdir(parents=True)
            (bench.path / place / ".crucible/journal.sqlite3").write_bytes(
                b"no database at all" * 100
            )
        (fate,) = (await delete_assets(bench.path / "project/here", settings=bench.settings)).fates
        assert fate.because == f"{bench.path / 'project/broken'}, which can't be read"
        (bench.path / "project/broken/.crucible/journal.sqlite3").unlink()
        assert (
            await delete_assets(bench.path / "project/here", settings=bench.settings)
        ).rebates == Decimal("0.5")


async def test_a_dry_run_needs_no_key_and_changes_nothing(start):
    async with start() as bench:
        await bench.run(bench.manifest(edit("a", bench.picture("1.png"))))
        before = (await bench.state())["requests"]
        cleaning = await delete_assets(bench.path / "out", dry_run=True, settings=NOBODY)
        assert [(fate.goes, fate.rebate, fate.charged) for fate in cleaning.fates] == [
            (True, None, Decimal("0.5"))
        ]
        assert (await bench.state())["requests"] == before
        with pytest.raises(ConsentError):
            await delete_assets(
                bench.path / "out", confirm=lambda _cleaning: False, settings=bench.settings
            )
        assert len(await ready_assets(bench)) == 1


async def test_an_answer_that_is_lost_counts_its_rebate_at_most_once_and_the_same_call_continues(
    start, tampered
):
    async with start() as bench:
        await bench.run(
            bench.manifest(
                f"{edit('a', bench.picture('1.png'))}\n{edit('b', bench.picture('2.png', 'red'))}"
            )
        )
        deletes = 0

        async def tamper(request: httpx.Request, send) -> httpx.Response:
            nonlocal deletes
            if request.method != "DELETE":
                return await send()
            deletes += 1
            if deletes > 1:
                raise httpx.ConnectError("nobody there")
            return await send()

        cleaning = await delete_assets(
            bench.path / "out", settings=bench.settings, transport=tampered(tamper)
        )
        assert (cleaning.exit_code, len(cleaning.deleted), cleaning.rebates) == (
            5,
            1,
            Decimal("0.5"),
        )
        await bench.agree(api.read_status(bench.path / "out"))
        rest = await delete_assets(bench.path / "out", settings=bench.settings)
        assert (rest.exit_code, rest.rebates) == (0, Decimal("0.5"))
        await bench.agree(api.read_status(bench.path / "out"))
        assert api.read_status(bench.path / "out").report.credits.rebates == 1


async def test_another_accounts_key_deletes_nothing(start):
    accounts = {"moltazine_sandbox": Decimal(100), "moltazine_other": Decimal(100)}
    async with start(accounts=accounts) as bench:
        await bench.run(bench.manifest(edit("a", bench.picture("1.png"))))
        other = Settings(api_key="moltazine_other", base_url=bench.running.api_url)
        with pytest.raises(RunDirectoryError, match="another account"):
            await delete_assets(bench.path / "out", settings=other)
        assert len(await ready_assets(bench)) == 1
        assert (
            await delete_assets(bench.path / "out", settings=bench.settings)
        ).rebates == Decimal("0.5")


async def test_a_held_directory_is_left_alone(start):
    async with start() as bench:
        await bench.run(bench.manifest(edit("a", bench.picture("1.png"))))
        with lock_run_directory(bench.path / "out"), pytest.raises(RunBusyError):
            await delete_assets(bench.path / "out", settings=bench.settings)
        assert len(await ready_assets(bench)) == 1


# -- at the end of a run

ON_SUCCESS = "assets: {cleanup: on_success}\n"


async def test_a_run_that_succeeded_gives_its_uploads_back_where_the_manifest_requires_it(start):
    async with start() as bench:
        jobs = f"{edit('a', bench.picture('1.png'))}\n{edit('b', bench.picture('2.png', 'red'))}"
        result = await bench.run(bench.manifest(jobs, head=ON_SUCCESS))
        assert (result.exit_code, result.report.credits.rebates) == (0, 1)
        assert await ready_assets(bench) == []
        await bench.agree(result)
        again = await bench.run(bench.manifest(jobs, head=ON_SUCCESS))
        state = await bench.agree(again)
    assert again.report.credits == result.report.credits
    assert len(state["assets"]) == 2


async def test_a_run_that_did_not_succeed_in_full_keeps_its_uploads(start):
    async with start() as bench:
        jobs = f"{edit('a', bench.picture('1.png'))}\n{{name: bad, prompt: nsfw}}"
        assert (await bench.run(bench.manifest(jobs, head=ON_SUCCESS))).exit_code == 1
        # Nor one for some jobs only, though it ends well.
        assert (await bench.run(bench.manifest(jobs, head=ON_SUCCESS), only=["a"])).exit_code == 0
        assert len(await ready_assets(bench)) == 1


async def test_an_error_while_cleaning_is_a_note_and_clean_does_it_later(
    start, tampered, caplog, monkeypatch
):
    monkeypatch.setattr(
        logging.getLogger("crucible_batch"), "propagate", True
    )  # a command run in here has cut it
    async with start() as bench:

        async def tamper(request: httpx.Request, send) -> httpx.Response:
            if request.method == "DELETE":
                raise httpx.ConnectError("nobody there")
            return await send()

        jobs = edit("a", bench.picture("1.png"))
        result = await bench.run(bench.manifest(jobs, head=ON_SUCCESS), transport=tampered(tamper))
        assert (result.exit_code, result.report.credits.rebates) == (0, 0)
        assert f"crucible-batch assets {bench.path / 'out'} --delete" in caplog.text
        await bench.agree(result)
        assert (
            await delete_assets(bench.path / "out", settings=bench.settings)
        ).rebates == Decimal("0.5")
