"""Samples of manifests whose jobs are made from the outputs of other jobs."""

from __future__ import annotations

import shutil
from typing import Any

import crucible_batch as api
from crucible_batch.core.events import Accepted
from crucible_batch.errors import ExitCode
from tests.harness.stopped_runs import stop_after

SHORT_JOBS = True

STAGES = """
{name: "fox-{{ n }}", prompt: "fox {{ n }}", matrix: {n: [1, 2, 3, 4]}}
{name: "big-{{ source.name }}", from: "fox-*", workflow: upscale-2x}
{name: "edit-{{ source.name }}", from: "big-*", workflow: qwen-edit, prompt: "sharper"}
"""


def succeeded(result: api.RunResult) -> list[str]:
    return [row.name for row in result.jobs() if row.status == "succeeded"]


async def test_what_is_made_from_the_sample_is_run_with_it(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(STAGES)
        plan = await api.plan(
            manifest, first=1, settings=bench.settings, out_dir=bench.path / "out"
        )
        assert [(each.stage.jobs, each.stage.uploads) for each in plan.stages] == [(1, 1), (1, 1)]
        one = await bench.run(manifest, first=1)
        assert one.exit_code is ExitCode.OK
        assert succeeded(one) == ["fox-1", "big-fox-1", "edit-big-fox-1"]
        entire = await bench.run(manifest)
        await bench.agree(entire)
    assert len(succeeded(entire)) == 12
    estimate = one.report.all_jobs
    assert estimate is not None
    assert (estimate.jobs, estimate.unknown_prices) == (12, [])
    assert estimate.credits == entire.report.credits.spent
    assert estimate.more_credits == entire.report.credits.spent - one.report.credits.spent


async def test_only_leaves_the_made_jobs_and_the_option_chooses_among_these(start: Any) -> None:
    async with start() as bench:
        manifest = bench.manifest(STAGES)
        await bench.run(manifest, only=["fox-*"])
        result = await bench.run(manifest, only=["big-*", "edit-*"], first=2)
    assert succeeded(result)[4:] == ["big-fox-1", "big-fox-2", "edit-big-fox-1", "edit-big-fox-2"]


async def test_nothing_is_made_from_a_job_in_flight_that_is_not_chosen(
    start: Any, watcher: Any
) -> None:
    async with start() as bench:
        manifest = bench.manifest(STAGES)
        await stop_after(bench, watcher, manifest, Accepted, only=["fox-4"])
        result = await bench.run(manifest, first=1)
        assert result.exit_code is ExitCode.OK
    assert succeeded(result) == ["fox-1", "fox-4", "big-fox-1", "edit-big-fox-1"]


async def test_the_choice_is_made_again_once_a_lost_journal_is_restored(start: Any) -> None:
    """The plan has the made jobs only then: the others must not be bought."""
    async with start() as bench:
        manifest = bench.manifest(STAGES)
        await bench.run(manifest, only=["fox-*", "big-*"])
        shutil.rmtree(bench.path / "out/.crucible")
        result = await bench.run(manifest, first=1)
        state = await bench.state()
    assert len(state["jobs"]) == 9
    assert [name for name in succeeded(result) if name.startswith("edit")] == ["edit-big-fox-1"]
