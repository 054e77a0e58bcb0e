"""Which directories of a wave's shards are merged, and which allowances are returned without one."""

from __future__ import annotations

import logging
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crucible_batch.api.cluster.claimed_shard import FigureCounter
from crucible_batch.api.cluster.deadline import unread_figures
from crucible_batch.api.cluster.directories import choose_directories, epoch_directory
from crucible_batch.cluster import ClaimedShard, QueuedShard, ShardFigures, ShardKey
from crucible_batch.domain.progress import Balance, RunBegan
from crucible_batch.domain.shard_lease import ClaimAnswer, ShardState
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
    return reported(epoch, ShardFigures(spent=Decimal(spent)), ending=ending, state=state)


def reported(epoch: int, figures: ShardFigures, *, ending: str, state: ShardState = ShardState.ENDED) -> QueuedShard:
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
    with pytest.raises(JournalError, match=r"shard 1/4 .* were deleted, .* 4 credits are known") as caught:
        choose_directories(ground.main, plan(ground), [row(1, spent=4, ending=ending)])
    for way in ("from a backup", "with a new database", "--abandon 1"):
        assert way in str(caught.value.hint)


def test_credits_that_the_worker_of_a_deleted_directory_held_may_have_been_charged(ground: ShardGround) -> None:
    ended = reported(1, ShardFigures(held=Decimal(6), unknown=1), ending="partial")
    with pytest.raises(JournalError, match=r" 0 credits are known to be spent, and up to 6 more may be"):
        choose_directories(ground.main, plan(ground), [ended])
    refunded = reported(1, ShardFigures(failed=2), ending="partial")
    assert choose_directories(ground.main, plan(ground), [refunded]).abandoned == [1]


@pytest.mark.parametrize("ending", ["refused", "stopped", "drained"])
@pytest.mark.parametrize("held", [6, 0])
def test_what_an_earlier_worker_has_held_counts_if_the_shard_could_not_be_run_again(
    ground: ShardGround, ending: str, held: int
) -> None:
    """Its complete allowance is held then, as if nobody had begun. What was bought after the last report is unknown."""
    claimed = ClaimedShard(ShardKey("run", DIGEST, 1), ClaimAnswer.CLAIMED, 2, Decimal(20))
    counter = FigureCounter(ShardFigures())
    counter.notify(RunBegan(0.0, 2, {}, Balance(Decimal(20), Decimal(0), Decimal(held))))
    with pytest.raises(JournalError, match="and up to 20 more may be"):
        choose_directories(
            ground.main, plan(ground), [reported(2, unread_figures(claimed, counter.figures), ending=ending)]
        )
    unclaimed = reported(2, unread_figures(claimed, ShardFigures()), ending=ending)
    assert choose_directories(ground.main, plan(ground), [unclaimed]).abandoned == [1]


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
