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
from tests.features.shards.stored_ground import JOBS, Ground, divided, ground

SHORT_JOBS = True
DIRECTORY = pytest.mark.parametrize("ground", ["directory"], indirect=True)
AT_URL = pytest.mark.parametrize("ground", ["url"], indirect=True)

__all__ = ["divided", "ground"]


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
async def test_no_journal_of_a_shard_is_in_the_shared_directory(divided: Ground) -> None:
    result = await divided.shard(1, "one")
    assert result.run_dir.is_relative_to(divided.bench.path / "one")
    assert list(Path(divided.url).rglob("*.sqlite3")) == [
        Path(divided.url, ".crucible", "journal.sqlite3")
    ]
    assert len(divided.pictures()) == 1 + result.report.counts.succeeded


@DIRECTORY
async def test_a_shard_of_a_machine_that_shares_nothing_is_merged_with_those_that_have_logs(
    divided: Ground,
) -> None:
    await divided.shard(1, "one")
    far = divided.bench.path / "scratch"
    alone = await by_hand(divided, 2, "far", out_dir=far)
    assert alone.run_dir == far
    assert list(far.rglob("*.png"))
    with pytest.raises(UserError, match="shard 2 of 2 is missing"):
        divided.merge()
    with divided.on("main"):
        merged = api.merge([divided.url, far])
    assert (merged.merged, merged.report.counts.succeeded) == ((1, 2), JOBS)
    assert len(divided.pictures()) == JOBS
    with pytest.raises(RunDirectoryError, match="are merged"):
        await divided.shard(2, "two")
    await divided.check(Decimal(100))


@DIRECTORY
async def test_a_shard_is_not_run_where_its_main_run_directory_is_not_mounted(
    divided: Ground,
) -> None:
    before = await divided.keys()
    with pytest.raises(RunDirectoryError, match="is not on this machine") as caught:
        await by_hand(divided, 1, "far")
    assert "--out-dir DIR" in (caught.value.hint or "")
    assert await divided.keys() == before


@DIRECTORY
async def test_a_shard_that_ran_with_a_log_and_by_hand_is_not_merged_twice(divided: Ground) -> None:
    await divided.shard(1, "one")
    await divided.shard(2, "two")
    far = divided.bench.path / "scratch"
    await by_hand(divided, 2, "far", out_dir=far)
    with divided.on("main"), pytest.raises(UserError, match="shard 2/2 is there twice"):
        api.merge([divided.url, far])
    assert divided.merge().report.counts.succeeded == JOBS
    await divided.check(Decimal(100))


@DIRECTORY
async def test_without_the_journal_of_the_main_run_nothing_is_bought_until_the_merge(
    divided: Ground,
) -> None:
    """The journal is lost, and the logs beside it are not."""
    await divided.shard(1, "one")
    for file in Path(divided.url, ".crucible").glob("journal.sqlite3*"):
        file.unlink()
    before = await divided.keys()
    with pytest.raises(ShardsUnknownError):
        await divided.run()
    with pytest.raises(ShardsUnknownError):
        await divided.divide()
    assert await divided.keys() == before
    await divided.shard(2, "two")
    merged = divided.merge(machine="new")
    assert merged.report.counts.succeeded == JOBS - 1  # without the probe's
    done = await divided.run()
    assert (done.exit_code, done.report.counts.succeeded) == (0, JOBS)
    assert len(await divided.keys()) == JOBS
    await divided.check(Decimal(100))


@DIRECTORY
async def test_the_shards_of_a_plan_of_an_earlier_release_run_without_logs(divided: Ground) -> None:
    """It has set allowances aside, and has stored no plan. They are not returned by another one."""
    shutil.rmtree(Path(divided.url, ".crucible", "shards"))
    first = await divided.shard(1, "one")
    assert first.run_dir.is_relative_to(divided.url)
    divided.plan.unlink()
    await divided.divide()
    with pytest.raises(ShardsOutstandingError):
        await divided.divide(3)
    second = await divided.shard(2, "two")
    assert second.run_dir.is_relative_to(divided.url)
    assert divided.merge().report.counts.succeeded == JOBS
    await divided.check(Decimal(100))


@AT_URL
async def test_the_shards_of_a_run_at_a_url_are_not_merged_by_its_path(divided: Ground) -> None:
    """Its budget is in the log there, and would count again in a journal of the directory."""
    await divided.shard(1, "one")
    with pytest.raises(RunDirectoryError, match=f"the place of a run at {divided.url}"):
        api.merge([divided.folder], abandon="all")
    assert not list(divided.folder.rglob("*.sqlite3"))
