"""A merge takes the outputs of shards from their directories, and nothing that is not theirs."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from crucible_batch.core.events import Relocated
from crucible_batch.core.plan import PlannedJob
from crucible_batch.errors import (
    JournalError,
    RunDirectoryError,
    UserError,
)
from crucible_batch.features.shards.merging import merge
from crucible_batch.journal import Journal, PlanFile
from tests.harness.replacing import replace
from tests.harness.shard_ground import (
    BINDING,
    ShardGround,
    bought,
    content_of,
    done,
    events_of,
    planned,
    saved,
    snapshot,
)


@pytest.fixture
def ground(tmp_path: Path) -> ShardGround:
    ground = ShardGround(tmp_path)
    ground.divide()
    return ground


# --- outputs


def test_another_file_at_the_path_of_an_output_is_kept_and_named(ground: ShardGround) -> None:
    ground.all_shards()
    mine = ground.main / "job-2" / "0.png"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(UserError, match="another file") as caught:
        merge([ground.main])
    assert str(mine) in caught.value.message
    assert mine.read_bytes() == b"mine"
    assert events_of(ground.main) == []
    mine.unlink()
    assert merge([ground.main], html=False).outputs == 8


def test_an_output_whose_place_another_job_has_is_saved_beside_it(tmp_path: Path) -> None:
    """A job named a-1 and the second output of a job named a, which one run saves one after the
    other."""
    ground = ShardGround(tmp_path, jobs=2, count=2)
    with Journal.open(ground.main, BINDING, now=1.0):
        pass
    ground.divide()
    same = "job-0/0.png"
    pattern = replace(planned(1), output="job-0/{index}{ext}")
    _plan_with(ground, planned(0), pattern)
    ground.shard(1)
    ground.shard(2, [done(1, 11.0, path=same)])
    for _ in range(2):
        merge([ground.main], html=False)
    digest = saved(1, 1.0).sha256[:8]
    files = snapshot(ground.main)
    assert files[same] == content_of(0)
    assert files[f"job-0/0.{digest}.png"] == content_of(1)
    assert [event for _, event in events_of(ground.main) if isinstance(event, Relocated)]
    rows = {
        row["name"]: row["outputs"][0]["path"] for row in json.loads(files["report.json"])["jobs"]
    }
    assert rows == {"job-0": same, "job-1": f"job-0/0.{digest}.png"}
    assert json.loads(files[f"job-0/0.{digest}.png.json"])["output"]["file"] == f"0.{digest}.png"


def _plan_with(ground: ShardGround, *jobs: PlannedJob) -> None:

    with Journal.open(ground.main, BINDING, now=1.0) as journal, PlanFile.temporary() as plan:
        plan.fill(jobs)
        journal.adopt(plan)


def test_outputs_that_a_shard_no_longer_has_are_named_and_the_rest_is_merged(
    ground: ShardGround, caplog: pytest.LogCaptureFixture
) -> None:
    ground.all_shards()
    (ground.folder(1) / "job-0" / "0.png").unlink()
    (ground.folder(2) / "job-1" / "0.png").write_bytes(b"damaged")
    result = merge([ground.main], html=False)
    assert result.absent == ("job-0/0.png", "job-1/0.png")
    assert result.outputs == 6
    assert not (ground.main / "job-1" / "0.png").exists()
    assert f"crucible-batch check {ground.main} --fix" in caplog.text


def test_the_receipts_of_a_repeated_merge_are_not_doubled(
    ground: ShardGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.all_shards()

    def stop(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("crucible_batch.features.shards.merge_transaction.ShardMerge.add", stop)
        with pytest.raises(KeyboardInterrupt):
            merge([ground.main], html=False)
    assert len(ground.receipts()) == 16
    merge([ground.main], html=False)
    assert len(ground.receipts()) == 16


# --- confinement: a shard's directory may come from another machine or person


@pytest.mark.parametrize(
    "path",
    [
        "../escaped.png",
        "/tmp/escaped.png",
        "job-1/0.png",
        ".crucible/lock",
        "report.json",
        "job-0/0.exe",
    ],
)
def test_an_output_at_a_path_that_its_job_does_not_have_is_refused(
    ground: ShardGround, path: str
) -> None:
    ground.all_shards()
    with Journal.open(ground.folder(1), BINDING, now=1.0) as journal:
        journal.restore([(planned(0).identity, [Relocated(at=30.0, index=0, path=path)])])
    with pytest.raises(JournalError, match="a path that the job"):
        merge([ground.main])
    assert events_of(ground.main) == []
    assert not (ground.main.parent / "escaped.png").exists()


def test_events_of_jobs_that_the_shard_does_not_have_are_refused(ground: ShardGround) -> None:
    ground.all_shards()
    with Journal.open(ground.folder(1), BINDING, now=1.0) as journal:
        journal.restore([(planned(1).identity, bought(1, 50.0))])
    with pytest.raises(JournalError, match="its shard doesn't have"):
        merge([ground.main])
    assert events_of(ground.main) == []


def test_a_job_that_two_shards_have_is_refused(ground: ShardGround) -> None:
    ground.all_shards()
    clone = ground.folder(2)
    with Journal.read(clone) as journal:
        binding = journal.binding()

    with Journal.open(clone, binding, now=1.0) as journal, PlanFile.temporary() as plan:
        plan.fill(planned(number) for number in (0, 1, 5))
        journal.adopt(plan)
    with pytest.raises(JournalError, match="shard 1 has too"):
        merge([ground.main])


def test_a_job_that_is_not_in_the_main_plan_is_refused(tmp_path: Path) -> None:
    ground = ShardGround(tmp_path)
    replace(ground, jobs=4).divide()
    ground.all_shards()
    with pytest.raises(JournalError, match="not in the plan of the main run directory"):
        merge([ground.main])


@pytest.mark.parametrize("step", ["shards", "ab12cd34", "1-of-4"])
def test_links_below_the_main_directory_are_not_followed(
    ground: ShardGround, tmp_path: Path, step: str
) -> None:
    ground.all_shards()
    place = {
        "shards": ground.main / "shards",
        "ab12cd34": ground.folder(1).parent,
        "1-of-4": ground.folder(1),
    }[step]
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunDirectoryError, match="symbolic link"):
        merge([ground.main])


@pytest.mark.parametrize("damage", ["file", "event", "run"])
def test_a_damaged_journal_of_a_shard_is_reported_with_its_directory_and_a_way_back(
    ground: ShardGround, damage: str
) -> None:
    ground.all_shards()
    journal = ground.folder(2) / ".crucible" / "journal.sqlite3"
    if damage == "file":
        journal.write_bytes(b"not a database" * 100)
    else:
        table = {"event": "events SET body", "run": "runs SET terms"}[damage]
        with sqlite3.connect(journal) as connection:
            connection.execute(f"UPDATE {table} = '[]'")
        connection.close()
    with pytest.raises((JournalError, UserError), match="2-of-4"):
        merge([ground.main], abandon=[2])
    with pytest.raises(JournalError) as caught:
        merge([ground.main])
    assert str(ground.folder(2)) in caught.value.message
    hint = caught.value.hint or ""
    assert f"PLAN --shard 2/4 --out-dir {ground.folder(2)}" in hint
    assert "run the manifest again" not in hint
    assert events_of(ground.main) == []


def test_temporary_files_of_shards_are_left_to_their_own_runs(ground: ShardGround) -> None:
    ground.all_shards()
    running = ground.main / "shards" / "ffff0000" / "1-of-2"
    with Journal.open(running, BINDING, now=1.0):
        pass
    part = running / "job-0" / ".crucible-part-1"
    part.parent.mkdir()
    part.write_bytes(b"half")
    merge([ground.main], html=False)
    assert part.exists()
