"""Outputs compared with the journal, and restored for no credits: the recorded bytes or nothing."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from crucible_batch import check_outputs
from crucible_batch.errors import KeyRefusedError, RunBusyError, RunDirectoryError
from crucible_batch.journal import lock_run_directory
from crucible_batch.outputs import FileState
from crucible_batch.settings import Settings

SHORT_JOBS = True

THREE = (
    "{name: a, prompt: one}\n{name: b, prompt: two, workflow: zimage-sheet}\n"
    "{name: c, prompt: three}"
)
NOBODY = Settings(api_key=None, base_url="http://127.0.0.1:9")


def contents(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.png"))
    }


async def test_a_finished_run_is_true_without_a_key_and_without_a_network(start):
    async with start() as bench:
        result = await bench.run(bench.manifest(THREE))
    found = await check_outputs(bench.path / "out", settings=NOBODY)
    assert (found.exit_code, found.checked, found.counts) == (0, 4, {FileState.OK: 4})
    assert found.byte_size == sum(
        output.byte_size for row in result.jobs() for output in row.outputs
    )
    assert (found.running, found.differences, found.leftovers) == (False, (), ())


async def test_each_kind_of_difference_is_named_and_nothing_is_touched(start):
    async with start() as bench:
        await bench.run(bench.manifest(THREE))
    out = bench.path / "out"
    (out / "a/0.png").unlink()
    damaged = bytearray((out / "b/0.png").read_bytes())
    damaged[-1] ^= 1  # of the same size: only the digest tells
    (out / "b/0.png").write_bytes(damaged)
    (out / "b/1.png").unlink()
    (out / "b/1.png").symlink_to(out / "b/0.png")
    shutil.rmtree(out / "c")
    (out / "c").symlink_to(out / "b")  # what is read through a link is not what was saved
    (out / "b/.crucible-part-x-0").write_bytes(b"cut")
    (out / ".crucible-part-1-2-report.json").write_bytes(b"{")
    before = sorted(out.rglob("*"))
    found = await check_outputs(out)
    assert {difference.path: difference.state for difference in found.differences} == {
        "a/0.png": FileState.MISSING,
        "b/0.png": FileState.DAMAGED,
        "b/1.png": FileState.REPLACED,
        "c/0.png": FileState.REPLACED,
    }
    assert [difference.name for difference in found.differences] == ["a", "b", "b", "c"]
    assert found.leftovers == (".crucible-part-1-2-report.json", "b/.crucible-part-x-0")
    assert found.exit_code == 7
    assert sorted(out.rglob("*")) == before


async def test_what_is_missing_or_damaged_comes_back_and_the_edited_file_is_kept(start):
    async with start() as bench:
        first = await bench.run(manifest := bench.manifest(THREE))
        out = bench.path / "out"
        whole = contents(out)
        shutil.rmtree(out / "a")
        (out / "b/0.png").write_bytes(b"my own work")
        (out / "b/1.png").unlink()
        (out / "b/.crucible-part-x-0").write_bytes(b"cut")
        found = await check_outputs(out, fix=True, settings=bench.settings)
        assert found.exit_code == 0
        assert contents(out) == whole
        aside = f"b/0.png.damaged-{hashlib.sha256(b'my own work').hexdigest()[:8]}"
        kept = {difference.path: difference.kept for difference in found.differences}
        assert kept == {"a/0.png": None, "b/0.png": aside, "b/1.png": None}
        assert (out / aside).read_bytes() == b"my own work"
        assert not (out / "b/.crucible-part-x-0").exists()
        assert (await check_outputs(out)).exit_code == 0
        # A later run agrees: there is nothing to do, and nothing is downloaded.
        requests = (await bench.state())["requests"]
        again = await bench.run(manifest)
        state = await bench.agree(again)
    assert again.report.credits == first.report.credits
    assert len(state["jobs"]) == 3
    assert (state["requests"]["generate"], state["requests"]["download"]) == (
        3,
        requests["download"],
    )
    assert requests["download"] == 4 + 3


async def test_outputs_of_jobs_that_left_the_manifest_are_verified_and_fixed_too(start):
    async with start() as bench:
        await bench.run(bench.manifest(THREE))
        await bench.run(bench.manifest("{name: a, prompt: one}"))
        out = bench.path / "out"
        (out / "c/0.png").unlink()
        found = await check_outputs(out)
        assert (found.checked, found.retired) == (4, 3)
        assert [(difference.name, difference.retired) for difference in found.differences] == [
            ("c", True)
        ]
        fixed = await check_outputs(out, fix=True, settings=bench.settings)
        assert (fixed.exit_code, (out / "c/0.png").is_file()) == (0, True)
        assert (await check_outputs(out)).exit_code == 0


def refusing(part: str, status: int, code: str):
    async def tamper(request: httpx.Request, send) -> httpx.Response:
        if part in request.url.path:
            return httpx.Response(status, json={"success": False, "error": "gone", "code": code})
        return await send()

    return tamper


@pytest.mark.parametrize("both_are_missing", [False, True])
async def test_a_deleted_output_takes_no_path_from_the_output_that_was_saved_there_since(
    start, both_are_missing
):
    async with start() as bench:
        out = bench.path / "out"
        await bench.run(bench.manifest("{name: a, prompt: one}"))
        old = (out / "a/0.png").read_bytes()
        (out / "a/0.png").unlink()
        await bench.run(bench.manifest("{name: a, prompt: two}"))
        new = (out / "a/0.png").read_bytes()
        if both_are_missing:
            (out / "a/0.png").unlink()
        found = await check_outputs(out)
        aside = f"a/0.{hashlib.sha256(old).hexdigest()[:8]}.png"
        expected = [(aside, FileState.MISSING, True)]
        if both_are_missing:
            expected.insert(0, ("a/0.png", FileState.MISSING, False))
        assert [(each.path, each.state, each.retired) for each in found.differences] == expected
        assert found.counts[FileState.DAMAGED] == 0
        fixed = await check_outputs(out, fix=True, settings=bench.settings)
        assert (fixed.exit_code, contents(out)) == (0, {"a/0.png": new, aside: old})
        assert not list(out.rglob("*.damaged-*"))
        assert (await check_outputs(out)).exit_code == 0


async def test_the_output_of_a_job_that_left_keeps_a_path_that_a_deleted_one_wants(
    start,
):
    """The prompt was changed back. A run compares sizes only, which are the same here."""
    async with start() as bench:
        out = bench.path / "out"
        await bench.run(bench.manifest("{name: a, prompt: one}"))
        old = (out / "a/0.png").read_bytes()
        (out / "a/0.png").unlink()
        await bench.run(bench.manifest("{name: a, prompt: two}"))
        new = (out / "a/0.png").read_bytes()
        assert (len(new), new != old) == (len(old), True)
        again = bench.manifest("{name: a, prompt: one}")
        await bench.run(again)
        aside = f"a/0.{hashlib.sha256(old).hexdigest()[:8]}.png"
        found = await check_outputs(out)
        assert [(each.path, each.state, each.retired) for each in found.differences] == [
            (aside, FileState.MISSING, False)
        ]
        fixed = await check_outputs(out, fix=True, settings=bench.settings)
        assert (fixed.exit_code, contents(out)) == (0, {"a/0.png": new, aside: old})
        assert not list(out.rglob("*.damaged-*"))
        assert (await check_outputs(out)).exit_code == 0
        result = await bench.run(again)
        state = await bench.agree(result)
    assert [output.path for row in result.jobs() for output in row.outputs] == [
        result.run_dir / aside
    ]
    assert (contents(out), state["requests"]["generate"]) == ({"a/0.png": new, aside: old}, 2)


async def test_what_the_gateway_no_longer_has_is_said_and_the_users_file_stays(start, tampered):
    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: one}"))
        out = bench.path / "out"
        (out / "a/0.png").write_bytes(b"edited")
        gone = tampered(refusing("/api/v1/jobs/", 404, "JOB_NOT_FOUND"))
        # The first look at a job is the account's check; it knows this key, so none is made.
        found = await check_outputs(out, fix=True, settings=bench.settings, transport=gone)
        assert found.exit_code == 7
        (difference,) = found.differences
        assert (difference.fixed, difference.error.code) == (False, "OUTPUT_UNAVAILABLE")
        assert "JOB_NOT_FOUND" in difference.error.message
        assert difference.error.hint
        assert contents(out) == {"a/0.png": b"edited"}
        # Nothing of it is in the journal: the next try is as good as the first.
        assert (await check_outputs(out, fix=True, settings=bench.settings)).exit_code == 0


async def test_a_journal_that_names_another_file_replaces_and_makes_nothing_of_it(start):
    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: one}"))
        out = bench.path / "out"
        with closing(sqlite3.connect(out / ".crucible/journal.sqlite3")) as journal:
            journal.execute(
                "UPDATE events SET body = replace(body, 'a/0.png', 'family.png') "
                "WHERE type = 'Saved'"
            )
            journal.commit()
        before = contents(out)
        for content in (b"mine", None):
            (out / "family.png").unlink() if content is None else (out / "family.png").write_bytes(
                content
            )
            (found,) = (await check_outputs(out, fix=True, settings=bench.settings)).differences
            assert (found.path, found.fixed, found.error.code) == (
                "family.png",
                False,
                "OUTPUT_MISPLACED",
            )
            assert contents(out) == before | ({} if content is None else {"family.png": content})


async def test_an_output_that_a_run_missed_and_could_not_fetch_is_still_missing(start):
    async with start() as bench:
        manifest = bench.manifest("{name: a, prompt: one}")
        await bench.run(manifest)
        out = bench.path / "out"
        (out / "a/0.png").unlink()
        await bench.configure(faults="job.expired-url:1")
        assert (await bench.run(manifest)).exit_code == 1
        assert [each.state for each in (await check_outputs(out)).differences] == [
            FileState.MISSING
        ]
        await bench.configure(faults="")
        assert (await check_outputs(out, fix=True, settings=bench.settings)).exit_code == 0
        assert (await bench.run(manifest)).exit_code == 0
        await bench.agree(await bench.run(manifest))


async def test_a_gateway_that_fails_ends_the_fixing_with_5_and_what_is_fixed_stays(start, tampered):
    async with start() as bench:
        await bench.run(bench.manifest(THREE))
        out = bench.path / "out"
        for path in contents(out):
            (out / path).unlink()

        async def dead(_request: httpx.Request, _send) -> httpx.Response:
            raise httpx.ConnectError("nobody there")

        found = await check_outputs(
            out, fix=True, settings=bench.settings, transport=tampered(dead)
        )
        assert found.exit_code == 5
        assert found.failure is not None
        assert not any(each.fixed for each in found.differences)
        assert all(each.error.code == found.failure.code for each in found.differences)
        assert (await check_outputs(out, fix=True, settings=bench.settings)).exit_code == 0


async def test_fixing_needs_a_key_only_where_there_is_something_to_fix(start):
    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: one}"))
        out = bench.path / "out"
        assert (await check_outputs(out, fix=True, settings=NOBODY)).exit_code == 0
        (out / "a/0.png").unlink()
        with pytest.raises(KeyRefusedError):
            await check_outputs(out, fix=True, settings=NOBODY)
        with pytest.raises(RunDirectoryError, match="another gateway"):
            await check_outputs(
                out, fix=True, settings=Settings(api_key="k", base_url="http://127.0.0.1:9")
            )


async def test_a_held_directory_can_be_looked_at_and_not_fixed(start):
    async with start() as bench:
        await bench.run(bench.manifest("{name: a, prompt: one}"))
    out = bench.path / "out"
    (out / "a/.crucible-part-x-0").write_bytes(b"being written")
    with lock_run_directory(out):
        found = await check_outputs(out)
        assert (found.running, found.exit_code, found.leftovers) == (True, 0, ())
        with pytest.raises(RunBusyError):
            await check_outputs(out, fix=True, settings=bench.settings)


async def test_a_directory_without_a_journal_is_refused_and_stays_as_it_is(tmp_path):
    for fix in (False, True):
        with pytest.raises(RunDirectoryError):
            await check_outputs(tmp_path, fix=fix)
    assert list(tmp_path.iterdir()) == []
