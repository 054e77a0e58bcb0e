"""The directories of a shard's owners: what a successor begins with."""

from __future__ import annotations

import errno
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest.mock import MagicMock

import pytest

from crucible_batch.api.cluster import claimed_shard as cluster_shard
from crucible_batch.api.cluster import directories as cluster_places
from crucible_batch.api.cluster.claimed_shard import ShardClaim, WorkerTools
from crucible_batch.api.cluster.directories import check_wave_folder, epoch_directory, newest_begun, take_over
from crucible_batch.cluster import ClaimedShard, ShardKey
from crucible_batch.domain.ledger import Ledger
from crucible_batch.domain.prices import PriceBook
from crucible_batch.domain.shard_lease import ClaimAnswer
from crucible_batch.domain.sharding import PlannedShard, ShardId
from crucible_batch.errors import ClusterSetupError, RunDirectoryError, SavedPlanError
from crucible_batch.journal import Journal, lock_run_directory
from crucible_batch.settings import Settings
from tests.case_table import each_case
from tests.unit.api.shard_ground import BINDING, DIGEST, ShardGround, content_of, done, in_flight

SHARD = ShardId(1, 4)


@pytest.fixture
def ground(tmp_path: Path) -> ShardGround:
    return ShardGround(tmp_path)


def wave(ground: ShardGround) -> Path:
    return ground.folder(1).parent


def owner(ground: ShardGround, epoch: int) -> Path:
    return epoch_directory(wave(ground), SHARD, epoch)


def spent_and_held(directory: Path) -> tuple[Decimal, Decimal]:
    ledger = Ledger(PriceBook())
    with Journal.read(directory) as journal:
        for subject, event in journal.events():
            ledger.apply(subject, event)
    return ledger.spent, ledger.held


def test_a_successor_begins_with_what_a_frozen_owner_bought_and_has_under_way(ground: ShardGround) -> None:
    first = ground.shard(1, [done(0, 10.0), in_flight(4, 11.0)], at=owner(ground, 1), ending=None)
    (first / "receipts.jsonl").write_text("{}\n", encoding="utf-8")
    with lock_run_directory(first), Journal.open(first, BINDING, now=2.0):  # still held by its process
        take_over(first, owner(ground, 2))
    assert spent_and_held(owner(ground, 2)) == spent_and_held(first) == (2, 2)
    assert (owner(ground, 2) / "job-0" / "0.png").read_bytes() == content_of(0)
    assert (owner(ground, 2) / "receipts.jsonl").read_text(encoding="utf-8") == "{}\n"
    assert newest_begun(wave(ground), SHARD, up_to=2) == owner(ground, 2)


def test_what_the_first_owner_writes_later_does_not_reach_its_successor(ground: ShardGround) -> None:
    first = ground.shard(1, [done(0, 10.0)], at=owner(ground, 1), ending=None)
    take_over(first, owner(ground, 2))
    with Journal.open(first, BINDING, now=2.0) as journal:
        journal.restore([in_flight(4, 11.0)])
    assert spent_and_held(owner(ground, 2)) == (2, 0)


def test_a_copy_that_was_stopped_before_its_journal_does_not_count(ground: ShardGround) -> None:
    first = ground.shard(1, [done(0, 10.0)], at=owner(ground, 1))
    (owner(ground, 2) / "job-0").mkdir(parents=True)
    (owner(ground, 2) / "job-0" / "0.png").write_bytes(content_of(0))
    assert newest_begun(wave(ground), SHARD, up_to=3) == first
    take_over(first, owner(ground, 2))
    assert newest_begun(wave(ground), SHARD, up_to=3) == owner(ground, 2)


def test_the_journal_is_copied_after_everything_else(ground: ShardGround, monkeypatch: pytest.MonkeyPatch) -> None:
    """A takeover that fails before it is made again, by this owner or the next."""
    first = ground.shard(1, [done(0, 10.0)], at=owner(ground, 1))

    def full(_old: Path, _new: Path) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(cluster_places, "_link", full)
    with pytest.raises(OSError, match="no space left"):
        take_over(first, owner(ground, 2))
    assert newest_begun(wave(ground), SHARD, up_to=2) == first
    assert not Journal.exists(owner(ground, 2))


def test_a_directory_that_was_begun_is_not_replaced(ground: ShardGround) -> None:
    first = ground.shard(1, [done(0, 10.0)], at=owner(ground, 1))
    second = ground.shard(1, [done(0, 10.0), done(4, 11.0)], at=owner(ground, 2))
    take_over(first, second)
    assert spent_and_held(second) == (4, 0)


def test_the_newest_owner_counts_and_none_above_the_claim(ground: ShardGround) -> None:
    assert not wave(ground).exists()
    for epoch in (1, 2, 10):
        ground.shard(1, [], at=owner(ground, epoch))
    ground.shard(2, [], at=epoch_directory(wave(ground), ShardId(2, 4), 11))
    (wave(ground) / "1-of-4.e9").write_text("a file")
    assert newest_begun(wave(ground), SHARD, up_to=11) == owner(ground, 10)
    assert newest_begun(wave(ground), SHARD, up_to=9) == owner(ground, 2)
    assert newest_begun(wave(ground), SHARD, up_to=0) is None


def test_a_folder_that_was_deleted_is_told_from_one_that_is_not_mounted(tmp_path: Path) -> None:
    main = tmp_path / "mount" / "outputs" / "spring" / "default"
    folder = main / "shards" / "abababab"
    with pytest.raises(RunDirectoryError, match="is not on this machine"):
        check_wave_folder(folder, main)
    (tmp_path / "mount" / "outputs").mkdir(parents=True)  # where another file system is to be mounted
    with pytest.raises(RunDirectoryError, match="is not on this machine"):
        check_wave_folder(folder, main)
    main.parent.mkdir()
    with pytest.raises(SavedPlanError, match="was deleted"):
        check_wave_folder(folder, main)
    main.mkdir()
    with pytest.raises(SavedPlanError, match="was deleted"):
        check_wave_folder(folder, main)
    folder.mkdir(parents=True)
    check_wave_folder(folder, main)


def test_a_third_owner_begins_with_what_both_before_it_have_bought(
    ground: ShardGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it could spend once more what the second one has spent of the allowance."""
    ground.shard(1, [done(0, 10.0)], at=owner(ground, 1), ending=None)
    ground.shard(1, [done(0, 10.0), in_flight(4, 11.0)], at=owner(ground, 2), ending=None)
    assert prepared(ground, monkeypatch, epoch=3) == owner(ground, 3)
    assert spent_and_held(owner(ground, 3)) == (2, 2)


@pytest.mark.parametrize("stray", [4, 999999999])
def test_no_owner_begins_below_a_later_one(ground: ShardGround, monkeypatch: pytest.MonkeyPatch, stray: int) -> None:
    """What it has bought would be unknown. The database is another one, or a folder was named like that of an owner."""
    ground.shard(1, [done(0, 10.0)], at=owner(ground, 1), ending=None)
    owner(ground, stray).mkdir()
    with pytest.raises(SavedPlanError, match="epoch 3") as caught:
        prepared(ground, monkeypatch, epoch=3)
    assert str(owner(ground, stray)) in caught.value.message
    assert "run the manifest again" in str(caught.value.hint)
    assert not owner(ground, 3).exists()


@each_case(
    "digest, allowance, words",
    [("ff" * 32, 20, "is not the plan that was queued"), (DIGEST, 21, "states another allowance of shard 1")],
)
def test_a_plan_that_is_not_as_it_was_queued_is_not_run(
    ground: ShardGround, monkeypatch: pytest.MonkeyPatch, digest: str, allowance: int, words: str
) -> None:
    """The allowance in its file would be spent, and not the one that is set aside for the shard."""
    wave(ground).mkdir(parents=True, exist_ok=True)
    with pytest.raises(SavedPlanError, match=words):
        prepared(ground, monkeypatch, epoch=1, digest=digest, allowance=allowance)
    assert not owner(ground, 1).exists()


def test_a_worker_of_another_gateway_runs_no_shard(ground: ShardGround, monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs that earlier owners have bought would be bought again there."""
    ground.shard(1, [done(0, 10.0)], at=owner(ground, 1), ending=None)
    with pytest.raises(ClusterSetupError, match="this worker is set to https://other"):
        prepared(ground, monkeypatch, epoch=2, base_url="https://other.test")
    assert not owner(ground, 2).exists()


def prepared(
    ground: ShardGround,
    monkeypatch: pytest.MonkeyPatch,
    *,
    epoch: int,
    digest: str = DIGEST,
    allowance: int = 20,
    base_url: str = "https://g.test/",
) -> Path | None:
    """Prepare the run of an owner of the first shard, and return its directory."""
    shards = [PlannedShard(number, 2, 2, Decimal(allowance)) for number in range(1, 5)]
    head = SimpleNamespace(shards=shards, options=SimpleNamespace())
    monkeypatch.setattr(
        cluster_shard, "read_saved_plan", lambda path: SimpleNamespace(path=path, digest=digest, head=head)
    )
    monkeypatch.setattr(cluster_shard, "follow_plan", lambda request, _environ: request)
    key, tools = ShardKey("run", DIGEST, 1), MagicMock(settings=Settings(None, base_url=base_url))
    claimed = ClaimedShard(key, ClaimAnswer.CLAIMED, epoch, Decimal(20), str(ground.main), "https://g.test")
    return ShardClaim(claimed, cast("WorkerTools", tools), 0.0)._prepared().out_dir
