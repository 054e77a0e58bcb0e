"""What a run knows of shards without the feature that divides plans: it is refused until all of
them are merged.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from crucible_batch import features
from crucible_batch.core.prices import Certainty
from crucible_batch.core.saved_plan import (
    ManifestFile,
    PlanHead,
    PlanOptions,
    PlanTerms,
    PlanTotals,
)
from crucible_batch.core.sharding import OutstandingShards, PlannedShard, ShardId, ShardOf
from crucible_batch.engine import SystemClock
from crucible_batch.errors import (
    RunDirectoryError,
    ShardsOutstandingError,
    ShardsUnknownError,
    UserError,
)
from crucible_batch.journal import Binding, Journal
from crucible_batch.object_url import ObjectUrl
from crucible_batch.outputs import ObjectOutputStore
from crucible_batch.runs.divided_plans import claimed_journal
from crucible_batch.runs.outstanding_shards import refuse_if_divided
from crucible_batch.runs.request import RunRequest, follow_plan
from crucible_batch.runs.shard_notes import note_shard, note_shards
from crucible_batch.saved_plan import PLAN_VERSION, write_saved_plan
from tests.harness.case_table import each_case
from tests.harness.object_fakes import DictObjects

BINDING = Binding("m", "default", "https://gateway")
PLAN = "a" * 64
FIVE = Decimal(5)


@each_case(
    "merged, is_refused",
    [(frozenset[int](), True), (frozenset({1}), True), (frozenset({1, 2}), False)],
)
def test_a_directory_is_refused_until_all_shards_are_merged(
    tmp_path: Path, merged: frozenset[int], is_refused: bool
) -> None:
    with Journal.open(tmp_path, BINDING, now=0.0) as journal:
        note_shards(journal, OutstandingShards(PLAN, {1: FIVE, 2: FIVE}, merged))
    if is_refused:
        with pytest.raises(ShardsOutstandingError):
            refuse_if_divided(tmp_path)
    else:
        refuse_if_divided(tmp_path)


def test_the_directory_of_a_shard_is_refused(tmp_path: Path) -> None:
    with Journal.open(tmp_path, BINDING, now=0.0) as journal:
        note_shard(journal, ShardOf(PLAN, ShardId(1, 2)))
    with pytest.raises(RunDirectoryError, match="of shard 1/2"):
        refuse_if_divided(tmp_path)


async def test_a_store_that_lists_a_plan_is_refused_until_it_is_merged(tmp_path: Path) -> None:
    objects = DictObjects(ObjectUrl("s3", "bucket", "prefix"))
    store = ObjectOutputStore(tmp_path, objects)

    def lists(number: int, *, merged: bool) -> None:
        entry = {"plan": {"digest": PLAN, "merged": merged}, "tool": "crucible-batch", "version": 1}
        objects.content[f".crucible/shards/{number:08}.json"] = json.dumps(entry).encode()

    lists(1, merged=False)
    with pytest.raises(ShardsUnknownError):
        async with claimed_journal(store, BINDING, SystemClock()):
            pytest.fail("its shards may spend the budget")
    assert not Journal.exists(tmp_path)
    lists(2, merged=True)
    async with claimed_journal(store, BINDING, SystemClock()) as (journal, _log):
        assert journal.last_number() == 0


def divided_plan(folder: Path) -> Path:
    head = PlanHead(
        schema_version=PLAN_VERSION,
        manifest=ManifestFile("m", "m.yaml", "0" * 64),
        gateway="https://gateway",
        options=PlanOptions(
            "default", "outputs/m/default", Decimal(10), retry_failed=False, only=(), variables={}
        ),
        terms=PlanTerms(Decimal(10), None, 3, ()),
        workflows=(),
        totals=PlanTotals(0, {}, Decimal(0), Certainty.KNOWN, Decimal(0), Decimal(0)),
        shards=(PlannedShard(1, 0, 0, FIVE),),
    )
    path = folder / "plan.json"
    write_saved_plan(path, head, ())
    return path


@each_case("environ", [None, {}, {"CRUCIBLE_BATCH_SHARD": "1/1"}])
def test_a_divided_plan_is_refused_where_shards_cannot_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str] | None
) -> None:
    """The budget of the plan is set aside for its shards, so none of it is left for a manifest."""
    request = RunRequest(divided_plan(tmp_path))
    monkeypatch.setattr(features, "_FOLDER", tmp_path / "no features")
    with pytest.raises(UserError, match="can't run shards") as caught:
        follow_plan(request, environ)
    assert caught.value.exit_code == 2
