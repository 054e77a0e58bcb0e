"""Which directories of a wave's shards are merged, and which allowances are returned without one."""

from __future__ import annotations

import logging
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crucible_batch.api.cluster.directories import choose_directories, epoch_directory
from crucible_batch.cluster import QueuedShard, ShardFigures, ShardKey
from crucible_batch.domain.shard_lease import ShardState
from crucible_batch.domain.sharding import ShardId
from crucible_batch.errors import JournalError
from crucible_batch.journal import lock_run_directory
from tests.unit.api.shard_ground import DIGEST, ShardGround, done


@pytest.fixture
def ground(tmp_path: Path) -> ShardGround:
    found = ShardGround(tmp_path)
    found.divide()
    folder = found.folder(1).parent
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text("{}")
    return found


def plan(ground: ShardGround) -> Any:
    return SimpleNamespace(
        path=ground.folder(1).parent / "plan.json", head=SimpleNamespace(shards=range(ground.count)), digest=DIGEST
    )


def row(epoch: int, *, spent: int = 0, ending: str = "succeeded", state: ShardState = ShardState.ENDED) -> QueuedShard:
    figures = ShardFigures(spent=Decimal(spent))
    key = ShardKey("run", DIGEST, 1)
    return QueuedShard(key, 2, 2, Decimal(20), state, epoch, None, 1.0, None, None, None, ending, figures)


def owner(ground: ShardGround, epoch: int) -> Path:
    return epoch_directory(ground.folder(1).parent, ShardId(1, ground.count), epoch)


def test_the_directory_of_the_last_owner_is_merged(ground: ShardGround) -> None:
    ground.shard(1, [done(0, 10.0)], at=owner(ground, 1))
    ground.shard(1, [done(0, 10.0), done(4, 11.0)], at=owner(ground, 2))
    chosen = choose_directories(ground.main, plan(ground), [row(2, spent=4)])
    assert (chosen.directories, chosen.abandoned) == ([owner(ground, 2)], [])


def test_a_copy_is_merged_if_the_last_owner_has_not_begun(ground: ShardGround) -> None:
    """The one before may be frozen, and hold its directory."""
    ground.shard(1, [done(0, 10.0)], at=owner(ground, 1), ending=None)
    with lock_run_directory(owner(ground, 1)):
        chosen = choose_directories(ground.main, plan(ground), [row(2, ending="stopped")])
    assert (chosen.directories, chosen.abandoned) == ([owner(ground, 2)], [])


@pytest.mark.parametrize("state", [ShardState.ENDED, ShardState.WITHDRAWN])
def test_owners_that_a_newer_database_does_not_know_are_merged(ground: ShardGround, state: ShardState) -> None:
    """Otherwise what they bought wouldn't count, or the merge would be refused for ever."""
    ground.shard(1, [done(0, 10.0)], at=owner(ground, 1))
    ground.shard(1, [done(0, 10.0), done(4, 11.0)], at=owner(ground, 2))
    chosen = choose_directories(ground.main, plan(ground), [row(int(state is ShardState.ENDED), state=state)])
    assert (chosen.directories, chosen.abandoned) == ([owner(ground, 2)], [])


@pytest.mark.parametrize("ending", ["succeeded", "stopped", "refused"])
def test_an_allowance_is_not_returned_if_credits_were_spent_whose_journal_was_deleted(
    ground: ShardGround, ending: str
) -> None:
    with pytest.raises(JournalError, match=r"shard 1/4 .* were deleted, .* reported 4 credits") as caught:
        choose_directories(ground.main, plan(ground), [row(1, spent=4, ending=ending)])
    for way in ("from a backup", "with a new database", "--abandon 1"):
        assert way in str(caught.value.hint)


def test_a_shard_that_was_not_begun_is_abandoned_and_logged_unless_the_deadline_was_the_reason(
    ground: ShardGround, caplog: pytest.LogCaptureFixture
) -> None:
    late = row(1, ending="stopped")
    withdrawn = replace(row(0, state=ShardState.WITHDRAWN), key=ShardKey("run", DIGEST, 2))
    failed = replace(row(1, ending="refused"), key=ShardKey("run", DIGEST, 3))
    with caplog.at_level(logging.ERROR):
        chosen = choose_directories(ground.main, plan(ground), [late, withdrawn, failed])
    assert (chosen.directories, chosen.abandoned) == ([], [1, 2, 3])
    assert [record.getMessage().partition(" could")[0] for record in caplog.records] == ["shard 3/4"]


def test_a_plan_that_was_deleted_is_named_with_what_to_do(ground: ShardGround) -> None:
    plan(ground).path.unlink()
    with pytest.raises(JournalError, match=r"plan\.json is missing") as caught:
        choose_directories(ground.main, plan(ground), [row(1)])
    assert "restore it from a backup" in str(caught.value.hint)
