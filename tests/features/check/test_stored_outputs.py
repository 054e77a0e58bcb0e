"""Outputs in an object store are checked and restored."""

from __future__ import annotations

import pytest

import crucible_batch as api
from crucible_batch.errors import RunDirectoryError
from crucible_batch.outputs import FileState, ObjectStoreError
from tests.harness.object_store import URL
from tests.integration.engine.test_object_runs import TWO, bought, failing, pictures

HAS_PAGES = True


SHORT_JOBS = True


async def test_a_prefix_that_lost_its_run_is_refused_and_check_restores_its_outputs(start, store):
    async with start() as bench:
        manifest = bench.manifest(TWO)
        await bench.run(manifest, out_dir=URL)
        store.content.clear()
        with pytest.raises(
            RunDirectoryError, match="it is another store, or its objects were deleted"
        ) as caught:
            await bench.run(manifest, out_dir=URL)
        assert f"crucible-batch check {URL} --fix" in str(caught.value.hint)
        found = await api.check_outputs(URL, fix=True, settings=bench.settings)
        assert (found.exit_code, pictures(store)) == (0, ["a/0.png", "b/0.png"])
        assert "report.json" in store.content
        assert (await bench.run(manifest, out_dir=URL)).exit_code == 0
        assert await bought(bench) == 2


async def test_check_begins_another_log_of_a_run_whose_log_was_deleted(start, store):
    async with start() as bench:
        manifest = bench.manifest(TWO)
        await bench.run(manifest, out_dir=URL)
        for key in [key for key in store.content if key.startswith(".crucible/log/")]:
            del store.content[key]
        with pytest.raises(RunDirectoryError, match="has no log of this run") as caught:
            await bench.run(manifest, out_dir=URL)
        assert f"crucible-batch check {URL} --fix" in str(caught.value.hint)
        found = await api.check_outputs(URL, fix=True, settings=bench.settings)
        assert found.exit_code == 0
        assert (await bench.run(manifest, out_dir=URL)).exit_code == 0
        assert ".crucible/log/00000001.json" in store.content
        assert await bought(bench) == 2


async def test_check_reads_each_object_and_fixes_those_that_differ(start, store):
    async with start() as bench:
        manifest = bench.manifest(TWO)
        await bench.run(manifest, out_dir=URL)
        good = dict(store.content)
        assert (await api.check_outputs(URL)).exit_code == 0
        del store.content["a/0.png"]
        store.content["b/0.png"] = b"damaged"
        found = await api.check_outputs(URL)
        assert (found.exit_code, {each.path: each.state for each in found.differences}) == (
            7,
            {"a/0.png": FileState.MISSING, "b/0.png": FileState.DAMAGED},
        )
        fixed = await api.check_outputs(URL, fix=True, settings=bench.settings)
        assert fixed.exit_code == 0
        kept = next(each.kept for each in fixed.differences if each.kept is not None)
        assert store.content[kept] == b"damaged"
        assert all(store.content[path] == good[path] for path in ("a/0.png", "b/0.png"))
        assert await bought(bench) == 2
        store.fault = failing("digest")
        with pytest.raises(ObjectStoreError):
            await api.check_outputs(URL)


async def test_an_older_copy_of_a_run_does_not_put_back_what_another_machine_has_replaced(
    start, store, monkeypatch
):
    async with start() as bench:
        manifest = bench.manifest(TWO)
        monkeypatch.setenv("XDG_STATE_HOME", str(bench.path / "first"))
        await bench.run(manifest, out_dir=URL)
        manifest.write_text(
            manifest.read_text().replace("name: a, prompt: a", "name: a, prompt: c")
        )
        monkeypatch.setenv("XDG_STATE_HOME", str(bench.path / "second"))
        await bench.run(manifest, out_dir=URL)
        newest = dict(store.content)
        monkeypatch.setenv("XDG_STATE_HOME", str(bench.path / "first"))
        found = await api.check_outputs(URL, fix=True, settings=bench.settings)
        assert (found.exit_code, found.differences) == (0, ())
        assert {key: store.content[key] for key in newest if key.endswith(".png")} == {
            key: newest[key] for key in newest if key.endswith(".png")
        }
        assert (await bench.run(manifest, out_dir=URL)).exit_code == 0
        assert await bought(bench) == 3
