"""The journal of a main run directory is lost while its shards are out: nothing is bought until
they are merged.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from crucible_batch.core.events import HoldReleased
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.outcome import Ending, RunStatus
from crucible_batch.errors import ExitCode, ShardsUnknownError, UserError
from crucible_batch.features.shards.merging import merge
from crucible_batch.features.shards.plan_part import shard_notes
from crucible_batch.journal import Journal
from crucible_batch.runs.outstanding_shards import refuse_if_divided, waits_for_shards
from crucible_batch.runs.shard_notes import note_shards, noted_shards
from tests.harness.job_events import held_event
from tests.harness.replacing import replace
from tests.harness.shard_ground import (
    BINDING,
    ShardGround,
    done,
    in_flight,
    planned,
    saved,
    snapshot,
)

SECOND = "0056ef78" + "0" * 56


@pytest.fixture
def lost(tmp_path: Path) -> ShardGround:
    """Four shards have run, one of them was killed, and the main run directory has only its
    pictures and receipts."""
    ground = ShardGround(tmp_path)
    ground.divide()
    for number in (1, 2, 3):
        ground.shard(number)
    ground.shard(4, [done(3, 10.0), in_flight(7, 11.0)], ending=None)
    shutil.rmtree(ground.main / ".crucible")
    return ground


def test_a_run_is_refused_and_told_how_to_continue(lost: ShardGround) -> None:
    with pytest.raises(ShardsUnknownError) as caught:
        refuse_if_divided(lost.main)
    assert caught.value.exit_code is ExitCode.USER_ERROR
    assert str(lost.main) in caught.value.message
    assert "1-of-4" in caught.value.message
    assert f"crucible-batch merge {lost.main}" in (caught.value.hint or "")
    assert waits_for_shards(lost.main)
    assert list(shard_notes(lost.main))


def test_a_journal_that_was_made_since_does_not_change_that(lost: ShardGround) -> None:
    with Journal.open(lost.main, BINDING, now=1.0):
        pass
    with pytest.raises(ShardsUnknownError):
        refuse_if_divided(lost.main)
    assert merge([lost.main], html=False).merged == (1, 2, 3, 4)


def test_a_merge_restores_what_the_shards_know(lost: ShardGround) -> None:
    result = merge([lost.main], html=False)
    report = result.report
    assert report is not None
    assert (result.merged, result.exit_code) == ((1, 2, 3, 4), ExitCode.STOPPED)
    assert (report.counts.succeeded, report.counts.pending) == (7, 1)
    assert (report.credits.spent, report.credits.held) == (14, 2)
    assert len([name for name in snapshot(lost.main) if name.endswith(".png")]) == 7
    refuse_if_divided(lost.main)
    with Journal.read(lost.main) as journal:
        assert journal.planned() == 8
        shards = noted_shards(journal)
    assert shards is not None
    assert (shards.set_aside, shards.division) == (0, 1)
    assert merge([lost.main], html=False).is_repeated


def test_a_missing_shard_is_still_refused_and_can_be_abandoned(lost: ShardGround) -> None:
    shutil.rmtree(lost.folder(2))
    with pytest.raises(UserError, match="shard 2 of 4 is missing") as caught:
        merge([lost.main], html=False)
    assert "--abandon 2" in (caught.value.hint or "")
    with pytest.raises(ShardsUnknownError):
        refuse_if_divided(lost.main)
    assert merge([lost.main], abandon=[2], html=False).abandoned == (2,)
    refuse_if_divided(lost.main)


def test_the_shards_of_all_plans_are_merged_the_oldest_first(lost: ShardGround) -> None:
    """A job that the first plan has blocked was bought by the second one."""
    blocked = [held_event(8, at=12.0, shape="s", images=False)]
    released = [*blocked, HoldReleased(at=12.1, error=ErrorInfo("BUDGET_EXHAUSTED", "too small"))]
    shutil.rmtree(lost.folder(4))
    lost.shard(4, [done(3, 10.0), (planned(7).identity, released)])
    second = replace(lost, digest=SECOND, count=8)
    second.shard(8, [done(7, 60.0)])
    first = merge([lost.main], html=False)
    assert first.plan_digest == lost.digest
    with pytest.raises(ShardsUnknownError, match="0056ef78"):
        refuse_if_divided(lost.main)
    last = merge([lost.main], abandon="all", html=False)
    assert last.plan_digest == SECOND
    assert last.report is not None
    assert (last.report.counts.succeeded, last.report.credits.spent) == (8, 16)
    refuse_if_divided(lost.main)


def test_the_account_of_the_shards_is_that_of_the_restored_journal(lost: ShardGround) -> None:
    with Journal.open(lost.folder(1), BINDING, now=1.0) as journal:
        journal.remember_key("pbkdf2:00:11")
    merge([lost.main], html=False)
    with Journal.read(lost.main) as journal:
        assert journal.remembered_key() == "pbkdf2:00:11"


def test_a_journal_from_a_backup_that_lacks_a_plan_is_noticed(tmp_path: Path) -> None:
    ground = ShardGround(tmp_path)
    ground.divide([done(0, 1.0)])
    ground.write(ground.main, saved(0, 1.3))
    ground.shard(1, [done(4, 14.0)])
    for number in (2, 3, 4):
        ground.shard(number)
    merge([ground.main], html=False)
    refuse_if_divided(ground.main)
    later = replace(ground, digest=SECOND, count=1, jobs=9)
    later.shard(1, [done(8, 60.0)])
    with pytest.raises(ShardsUnknownError, match="0056ef78"):
        refuse_if_divided(ground.main)


def test_plans_that_were_merged_before_are_known(tmp_path: Path) -> None:
    ground = ShardGround(tmp_path)
    ground.divide()
    ground.all_shards()
    merge([ground.main], html=False)
    with Journal.open(ground.main, BINDING, now=1.0) as journal:
        shards = noted_shards(journal)
        assert shards is not None
        later = replace(shards, plan_digest=SECOND, earlier=shards.plans)
        note_shards(journal, later)
    refuse_if_divided(ground.main)
    with Journal.open(ground.main, BINDING, now=1.0) as journal:
        note_shards(journal, replace(later, earlier=()))
    with pytest.raises(ShardsUnknownError):
        refuse_if_divided(ground.main)


def test_a_job_that_the_main_directory_has_bought_too_is_not_counted_twice(
    lost: ShardGround,
) -> None:
    with Journal.open(lost.main, BINDING, now=1.0) as journal:
        run = journal.begin_run(lost.terms, now=1.0)
        journal.restore([done(0, 1.0)])
        journal.end_run(run, Ending(RunStatus.SUCCEEDED, 0), now=2.0)
    with pytest.raises(Exception, match="has bought job 'job-0' as well"):
        merge([lost.main], html=False)
    with Journal.read(lost.main) as journal:
        assert journal.last_number() == 4


def test_a_shard_in_which_no_run_has_begun_is_not_missed(tmp_path: Path) -> None:
    ground = ShardGround(tmp_path)
    with Journal.open(ground.folder(1), BINDING, now=1.0):
        pass
    refuse_if_divided(ground.main)
