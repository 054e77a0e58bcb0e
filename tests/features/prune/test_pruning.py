"""What protects a run from being pruned, as its journal has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from crucible_batch.core.asset import ASSET_PREFIX
from crucible_batch.core.events import Event, HoldReleased, Lost, SubmitUnknown
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.sharding import OutstandingShards, ShardId, ShardOf
from crucible_batch.features.prune.pruning import plan_pruning
from crucible_batch.features.prune.retention import KeepCause, RetentionRules
from crucible_batch.journal import Journal, PlanFile
from crucible_batch.runs.shard_notes import note_shard, note_shards
from tests.harness.case_table import each_case
from tests.harness.job_events import held_event, intended_event
from tests.harness.replacing import replace
from tests.harness.shard_ground import BINDING, DIGEST, OK, ShardGround, planned

FOX = planned(0)
IMAGE = ASSET_PREFIX + "ee" * 32
HELD = held_event(8, shape="s", images=True)
INTENDED = intended_event("0.5", FOX.identity, at=2.0)
ERROR = ErrorInfo("ERROR", "an error")


@contextmanager
def begun(place: Path, name: str, began: float) -> Iterator[Journal]:
    """A run of one job, which ends and has its report at the end of the block."""
    directory = place / "outputs" / "campaign" / name
    terms = replace(ShardGround(place).terms, run_id=name, upload_ceiling=Decimal("0.5"))
    with Journal.open(directory, replace(BINDING, run_id=name), now=began) as journal:
        with PlanFile.temporary() as draft:
            draft.fill([FOX])
            journal.adopt(draft)
        run = journal.begin_run(terms, now=began)
        yield journal
        journal.end_run(run, OK, now=began + 1)
    (directory / "report.json").write_text("{}")


@each_case(
    "stories, cause",
    [
        ([], None),
        ([(FOX.identity, [HELD, SubmitUnknown(at=2.0, error=ERROR)])], KeepCause.UNKNOWN),
        # The upload may have been charged, although the job was not submitted.
        (
            [
                (FOX.identity, [HELD]),
                (IMAGE, [INTENDED, Lost(at=3.0, nonce="n")]),
                (FOX.identity, [HoldReleased(at=4.0, error=ERROR)]),
            ],
            KeepCause.HELD,
        ),
    ],
)
def test_a_run_with_credits_in_doubt_is_kept(
    tmp_path: Path, stories: Sequence[tuple[str, Sequence[Event]]], cause: KeepCause | None
) -> None:
    for name, began in (("old", 10.0), ("new", 900.0)):
        with begun(tmp_path, name, began) as journal:
            journal.restore(stories)
    assert decided(tmp_path) == [cause, cause or KeepCause.NEWEST]


def decided(directory: Path) -> list[KeepCause | None]:
    pruning = plan_pruning(
        directory / "outputs", rules=RetentionRules(older_than_s=50.0), now=1000.0
    )
    return [run.decision.keep for run in pruning.runs]


@each_case(
    "note",
    [
        lambda journal: note_shards(
            journal, OutstandingShards(DIGEST, {1: Decimal(4), 2: Decimal(4)})
        ),
        lambda journal: note_shard(journal, ShardOf(DIGEST, ShardId(1, 2))),
    ],
)
def test_a_run_with_shards_that_are_not_merged_is_kept_and_so_is_a_shard(
    tmp_path: Path, note: Callable[[Journal], None]
) -> None:
    with begun(tmp_path, "old", 10.0) as journal:
        note(journal)
    assert decided(tmp_path) == [KeepCause.SHARDS]
