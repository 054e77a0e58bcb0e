"""Pruning of a merged run: what its shards have is deleted with it, and nothing that is not merged."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from crucible_batch.api.pruning import Pruning, plan_pruning, prune_runs
from crucible_batch.api.shards.merging import merge
from crucible_batch.api.shards.note import note_shard
from crucible_batch.domain.retention import RetentionRules
from crucible_batch.domain.sharding import ShardId, ShardOf
from crucible_batch.journal import Journal, lock_run_directory
from tests.unit.api.shard_ground import BINDING, DIGEST, OK, ShardGround, content_of

RULES = RetentionRules(older_than_s=10.0)
LATER = 10_000.0


@pytest.fixture
def ground(tmp_path: Path) -> ShardGround:
    ground = ShardGround(tmp_path)
    ground.divide()
    for number, directory in enumerate(ground.all_shards(), 1):
        note(directory, number)
    # The newest run of a manifest is kept.
    newest = ground.home / "outputs" / "campaign" / "newest"
    with Journal.open(newest, BINDING, now=1.0) as journal:
        journal.begin_run(ground.terms, now=5_000.0)
    return ground


def note(directory: Path, number: int) -> None:
    with Journal.open(directory, BINDING, now=1.0) as journal:
        note_shard(journal, ShardOf(DIGEST, ShardId(number, 4)))


def pruned(ground: ShardGround) -> Pruning:
    pruning = plan_pruning(ground.home / "outputs", rules=RULES, now=LATER)
    return prune_runs(pruning, now=LATER)


def pictures(ground: ShardGround) -> list[str]:
    return sorted(path.relative_to(ground.main).as_posix() for path in ground.main.rglob("*.png"))


def test_the_outputs_of_merged_shards_are_deleted_and_their_journals_stay(ground: ShardGround) -> None:
    merge([ground.main], html=False)
    assert len(pictures(ground)) == 16
    (run,) = pruned(ground).going
    assert pictures(ground) == []
    assert all((ground.folder(number) / ".crucible" / "journal.sqlite3").is_file() for number in range(1, 5))
    # Links to the same file are deleted as one.
    assert (run.deleted or 0) < sum(len(content_of(number)) for number in range(8)) + 8 * 2_000
    assert not pruned(ground).going


def test_nothing_is_deleted_while_a_shard_is_not_merged(ground: ShardGround) -> None:
    assert not pruned(ground).going
    assert len(pictures(ground)) == 8


def finish(ground: ShardGround) -> None:
    """Let a later run end without anything left to do, so that the main directory may be pruned."""
    with Journal.open(ground.main, BINDING, now=1.0) as journal:
        journal.end_run(journal.begin_run(ground.terms, now=200.0), OK, now=201.0)


def test_what_is_not_a_merged_output_stays(ground: ShardGround) -> None:
    merge([ground.main], html=False)
    finish(ground)
    other = ground.folder(1) / "job-0" / "notes.png"
    other.write_bytes(b"not an output")
    (ground.folder(2) / "job-1" / "0.png").unlink()
    (ground.folder(2) / "job-1" / "0.png").write_bytes(b"edited")
    (run,) = pruned(ground).going
    left = ["1-of-4/job-0/notes.png", "2-of-4/job-1/0.png"]
    assert pictures(ground) == [f"shards/ab12cd34/{name}" for name in left]
    assert run.kept == ("shards/ab12cd34/2-of-4/job-1/0.png",)


def test_a_copy_that_an_edited_journal_of_a_shard_names_stays(ground: ShardGround) -> None:
    merge([ground.main], html=False)
    shard = ground.folder(2)
    (shard / "job-1" / "0.png").rename(shard / "my-copy.png")
    with sqlite3.connect(shard / ".crucible" / "journal.sqlite3") as connection:
        edit = "UPDATE events SET body = replace(body, 'job-1/0.png', 'my-copy.png') WHERE type = 'Saved'"
        assert connection.execute(edit).rowcount
    connection.close()
    pruned(ground)
    assert pictures(ground) == ["shards/ab12cd34/2-of-4/my-copy.png"]


def test_the_outputs_of_an_abandoned_shard_stay(ground: ShardGround) -> None:
    away = ground.home / "away"
    ground.folder(3).rename(away)
    merge([ground.main], abandon=[3], html=False)
    finish(ground)
    away.rename(ground.folder(3))
    assert len(pruned(ground).going) == 1
    assert [path.split("/")[2] for path in pictures(ground)] == ["3-of-4", "3-of-4"]


def test_a_shard_in_which_a_run_is_active_is_left_alone(ground: ShardGround) -> None:
    merge([ground.main], html=False)
    with lock_run_directory(ground.folder(2)):
        pruned(ground)
    assert [path.split("/")[2] for path in pictures(ground)] == ["2-of-4", "2-of-4"]
