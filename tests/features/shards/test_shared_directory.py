"""Shards in a main run directory that machines share, and beside it: what differs from a store."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import crucible_batch as api
from crucible_batch.errors import (
    RunDirectoryError,
    ShardsOutstandingError,
    ShardsUnknownError,
    UserError,
)
from tests.features.shards.test_stored_shards import JOBS, Ground, ground

SHORT_JOBS = True
DIRECTORY = pytest.mark.parametrize("ground", ["directory"], indirect=True)
AT_URL = pytest.mark.parametrize("ground", ["url"], indirect=True)

__all__ = ["ground"]


async def by_hand(run: Ground, number: int, machine: str, **options: Any) -> api.RunResult:
    """Run a shard on a machine that has the plan and the manifest, and nothing else."""
    folder = run.bench.path / f"{machine}-disk"
    folder.mkdir()
    for file in (run.plan, run.manifest):
        shutil.copy(file, folder)
    with run.on(machine):
        return await api.run(
            folder / run.plan.name, shard=f"{number}/2", settings=run.bench.settings, **options
        )


@DIRECTORY
async def test_no_journal_of_a_shard_is_in_the_shared_directory(start: Any, ground: Any) -> None:
    async with start() as bench:
        run = ground(bench)
        await run.divide()
        result = await run.shard(1, "one")
        assert result.run_dir.is_relative_to(bench.path / "one")
        assert list(Path(run.url).rglob("*.sqlite3")) == [
            Path(run.url, ".crucible", "journal.sqlite3")
        ]
        assert len(run.pictures()) == 1 + result.report.counts.succeeded


@DIRECTORY
async def test_a_shard_of_a_machine_that_shares_nothing_is_merged_with_those_that_have_logs(
    start: Any, ground: Any
) -> None:
    async with start() as bench:
        run = ground(bench)
        await run.divide()
        await run.shard(1, "one")
        far = bench.path / "scratch"
        alone = await by_hand(run, 2, "far", out_dir=far)
        assert alone.run_dir == far
        assert list(far.rglob("*.png"))
        with pytest.raises(UserError, match="shard 2 of 2 is missing"):
            run.merge()
        with run.on("main"):
            merged = api.merge([run.url, far])
        assert (merged.merged, merged.report.counts.succeeded) == ((1, 2), JOBS)
        assert len(run.pictures()) == JOBS
        with pytest.raises(RunDirectoryError, match="are merged"):
            await run.shard(2, "two")
        await run.check(Decimal(100))


@DIRECTORY
async def test_a_shard_is_not_run_where_its_main_run_directory_is_not_mounted(
    start: Any, ground: Any
) -> None:
    async with start() as bench:
        run = ground(bench)
        await run.divide()
        before = await run.keys()
        with pytest.raises(RunDirectoryError, match="is not on this machine") as caught:
            await by_hand(run, 1, "far")
        assert "--out-dir DIR" in (caught.value.hint or "")
        assert await run.keys() == before


@DIRECTORY
async def test_a_shard_that_ran_with_a_log_and_by_hand_is_not_merged_twice(
    start: Any, ground: Any
) -> None:
    async with start() as bench:
        run = ground(bench)
        await run.divide()
        await run.shard(1, "one")
        await run.shard(2, "two")
        far = bench.path / "scratch"
        await by_hand(run, 2, "far", out_dir=far)
        with run.on("main"), pytest.raises(UserError, match="shard 2/2 is there twice"):
            api.merge([run.url, far])
        assert run.merge().report.counts.succeeded == JOBS
        await run.check(Decimal(100))


@DIRECTORY
async def test_without_the_journal_of_the_main_run_nothing_is_bought_until_the_merge(
    start: Any, ground: Any
) -> None:
    """The journal is lost, and the logs beside it are not."""
    async with start() as bench:
        run = ground(bench)
        await run.divide()
        await run.shard(1, "one")
        for file in Path(run.url, ".crucible").glob("journal.sqlite3*"):
            file.unlink()
        before = await run.keys()
        with pytest.raises(ShardsUnknownError):
            await run.run()
        with pytest.raises(ShardsUnknownError):
            await run.divide()
        assert await run.keys() == before
        await run.shard(2, "two")
        merged = run.merge(machine="new")
        assert merged.report.counts.succeeded == JOBS - 1  # without the probe's
        done = await run.run()
        assert (done.exit_code, done.report.counts.succeeded) == (0, JOBS)
        assert len(await run.keys()) == JOBS
        await run.check(Decimal(100))


@DIRECTORY
async def test_the_shards_of_a_plan_of_an_earlier_release_run_without_logs(
    start: Any, ground: Any
) -> None:
    """It has set allowances aside, and has stored no plan. They are not returned by another one."""
    async with start() as bench:
        run = ground(bench)
        await run.divide()
        shutil.rmtree(Path(run.url, ".crucible", "shards"))
        first = await run.shard(1, "one")
        assert first.run_dir.is_relative_to(run.url)
        run.plan.unlink()
        await run.divide()
        with pytest.raises(ShardsOutstandingError):
            await run.divide(3)
        second = await run.shard(2, "two")
        assert second.run_dir.is_relative_to(run.url)
        assert run.merge().report.counts.succeeded == JOBS
        await run.check(Decimal(100))


@AT_URL
async def test_the_shards_of_a_run_at_a_url_are_not_merged_by_its_path(
    start: Any, ground: Any
) -> None:
    """Its budget is in the log there, and would count again in a journal of the directory."""
    async with start() as bench:
        run = ground(bench)
        await run.divide()
        await run.shard(1, "one")
        with pytest.raises(RunDirectoryError, match=f"the place of a run at {run.url}"):
            api.merge([run.folder], abandon="all")
        assert not list(run.folder.rglob("*.sqlite3"))
