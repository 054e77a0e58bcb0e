"""Stages whose sources are in an object store."""

from __future__ import annotations

import hashlib

import pytest

import crucible_batch as api
from crucible_batch.cli.status import next_command
from tests.harness.object_store import URL
from tests.integration.engine.test_object_runs import bought, failing, local_pictures, pictures

HAS_PAGES = True


SHORT_JOBS = True


STAGES = """{name: draft, prompt: "a heron {{ repeat }}", repeat: 3}
{name: "final-{{ source.name }}", from: "draft*", workflow: upscale-2x}"""


async def test_later_stages_are_made_from_outputs_in_the_store(start, store):
    async with start() as bench:
        manifest = bench.manifest(STAGES)
        planned = await api.plan(manifest, out_dir=URL, settings=bench.settings)
        assert [each.stage.jobs for each in planned.stages] == [3]
        result = await bench.run(manifest, out_dir=URL)
        state = await bench.agree(result)
        assert (result.exit_code, len(pictures(store)), local_pictures(bench)) == (0, 6, [])
        # What was uploaded are the bytes of the drafts.
        drafts = {
            hashlib.sha256(store.content[key]).hexdigest()
            for key in pictures(store)
            if key.startswith("draft")
        }
        assert {asset["metadata"]["cb_sha256"] for asset in state["assets"]} == drafts
        before = await bought(bench)
        assert before == 6
        assert (await bench.run(manifest, out_dir=URL)).exit_code == 0
        assert (await api.plan(manifest, out_dir=URL, settings=bench.settings)).states["done"] == 6
        assert await bought(bench) == before


async def test_a_machine_that_knew_one_job_has_the_stages_that_another_one_has_bought(
    start, store, monkeypatch
):
    """Its plan is made without the journal of the log, and once more with it."""
    async with start() as bench:
        manifest = bench.manifest(STAGES)
        counts = []
        for machine, options in (("one", {"only": ["draft-1"]}), ("two", {}), ("one", {})):
            monkeypatch.setenv("XDG_STATE_HOME", str(bench.path / machine))
            result = await bench.run(manifest, out_dir=URL, **options)
            counts.append((result.exit_code, result.report.counts.succeeded, await bought(bench)))
        assert counts[1:] == [(0, 6, 6), (0, 6, 6)]
        assert [job.name for job in result.jobs()] == [
            *(f"draft-{number}" for number in (1, 2, 3)),
            *(f"final-draft-{number}" for number in (1, 2, 3)),
        ]


async def test_a_store_that_fails_where_a_stage_reads_it_ends_the_run_and_leaves_nothing_held(
    start, store
):
    async with start() as bench:
        manifest = bench.manifest(STAGES)
        store.fault = failing("read")
        stopped = await bench.run(manifest, out_dir=URL, concurrency=1)
        status = api.read_status(stopped.run_dir)
        assert (status.run_dir, status.outputs_at, status.location) == (stopped.run_dir, URL, URL)
        assert f" --out-dir {URL}" in str(next_command(status))
        assert stopped.exit_code == 5
        assert [stop.code for stop in stopped.report.stops.values()] == ["OBJECT_STORE"]
        assert (stopped.report.credits.held, stopped.report.credits.uploads) == (0, 0)
        assert (await bench.state())["assets"] == []
        store.fault = lambda _request, _key: None
        done = await bench.run(manifest, out_dir=URL)
        await bench.agree(done)
        assert (done.exit_code, done.report.counts.succeeded, await bought(bench)) == (0, 6, 6)


@pytest.mark.parametrize("content", [None, b"other bytes"])
async def test_a_source_that_is_gone_or_changed_in_the_store_is_not_uploaded(start, store, content):
    async with start() as bench:
        one = bench.manifest(STAGES.splitlines()[0])
        first = await bench.run(one, out_dir=URL)
        kept = store.content.pop("draft-1/0.png")
        if content is not None:
            store.content["draft-1/0.png"] = content
        manifest = bench.manifest(STAGES)
        done = await bench.run(manifest, out_dir=URL)
        (failed,) = [row for row in done.jobs() if row.status == "failed"]
        assert (failed.name, failed.error.code) == ("final-draft-1", "INPUT_CHANGED")
        assert len((await bench.state())["assets"]) == 2
        store.content["draft-1/0.png"] = kept
        again = await bench.run(manifest, out_dir=URL, retry_failed=True)
        assert (again.exit_code, await bought(bench)) == (0, 6)
        del first
