"""The merge's decisions: which shards, which events of theirs, and how the merged run ended."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest

from crucible_batch.core.asset import Asset, AssetPhase
from crucible_batch.core.budget import BUDGET_EXHAUSTED
from crucible_batch.core.events import (
    BecameReady,
    Created,
    Deleted,
    Found,
    Uploaded,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.outcome import EVERYTHING, Ending, Outcome, RunStatus
from crucible_batch.core.sharding import OutstandingShards, ShardId
from crucible_batch.errors import UserError
from crucible_batch.features.shards.merge_rule import (
    SHARD_ABANDONED,
    SHARD_UNFINISHED,
    Abandoned,
    FoundShard,
    KnownImages,
    choose_shards,
    conclude_merged,
    united_stops,
)
from tests.harness.case_table import each_case
from tests.harness.job_events import held_event, intended_event
from tests.harness.replacing import replace

PLAN, OTHER = "a" * 64, "b" * 64
OUTSTANDING = OutstandingShards(PLAN, {number: Decimal(10) for number in range(1, 5)})
COMMAND = "crucible-batch merge outputs/c/default"


def found(*numbers: int, digest: str = PLAN) -> list[FoundShard]:
    return [FoundShard(f"dir-{number}", ShardId(number, 4), digest) for number in numbers]


def refusal(
    shards: list[FoundShard],
    abandoned: Abandoned = (),
    outstanding: OutstandingShards = OUTSTANDING,
) -> UserError:
    with pytest.raises(UserError) as caught:
        choose_shards(shards, outstanding, abandoned, command=COMMAND)
    return caught.value


def test_all_shards_are_merged_in_the_order_of_their_numbers() -> None:
    choice = choose_shards(found(3, 1, 4, 2), OUTSTANDING, (), command=COMMAND)
    assert list(choice.found) == [1, 2, 3, 4]
    assert not choice.abandoned


def test_missing_shards_are_named_with_the_command_that_abandons_them() -> None:
    error = refusal(found(1, 3))
    assert error.message == "shards 2, 4 of 4 are missing"
    assert f"{COMMAND} --abandon 2 --abandon 4" in (error.hint or "")
    assert refusal(found(1, 2, 3)).message == "shard 4 of 4 is missing"


def test_many_missing_shards_are_abandoned_with_one_word() -> None:
    assert f"{COMMAND} --abandon all" in (refusal([]).hint or "")


def test_all_abandons_those_that_are_missing_only() -> None:
    choice = choose_shards(found(2), OUTSTANDING, "all", command=COMMAND)
    assert choice.abandoned == (1, 3, 4)
    assert list(choice.found) == [2]


def test_a_number_that_the_plan_does_not_have_is_refused() -> None:
    assert "no shard 9" in refusal(found(1, 2, 3, 4), (9,)).message
    assert "shard 2/9" in refusal([FoundShard("dir-2", ShardId(2, 9), PLAN)]).message


def test_the_directory_of_an_abandoned_shard_is_refused_since_its_costs_are_not_counted() -> None:
    outstanding = replace(OUTSTANDING, merged=frozenset({1, 2, 3, 4}), abandoned=frozenset({3}))
    assert choose_shards(found(1, 2, 4), outstanding, (), command=COMMAND).is_empty
    error = refusal(found(1, 2, 3, 4), (), outstanding)
    assert "shard 3/4 was abandoned, and it was run in dir-3" in error.message


def test_what_is_merged_already_is_left_out() -> None:
    outstanding = OutstandingShards(PLAN, OUTSTANDING.allowances, frozenset({1, 2, 3, 4}))
    choice = choose_shards(found(1, 2), outstanding, "all", command=COMMAND)
    assert choice.is_empty
    partly = OutstandingShards(PLAN, OUTSTANDING.allowances, frozenset({1}))
    assert choose_shards(found(2, 3), partly, (1, 4), command=COMMAND).abandoned == (
        4,
    )  # what 1 spent is counted
    assert list(choose_shards(found(1, 2, 3, 4), partly, (), command=COMMAND).found) == [2, 3, 4]


IMAGE = Asset("1" * 64)


def seed(asset_id: str = "image-1") -> Found:
    return Found(at=1.0, asset_id=asset_id)


def ready(asset_id: str = "image-1") -> Asset:
    return Asset("1" * 64, AssetPhase.READY, asset_id=asset_id)


def test_an_image_that_the_main_journal_has_is_not_found_again() -> None:
    """Otherwise its rebate would be lost, and it would count as reused."""
    assert not KnownImages([ready()]).takes(IMAGE.identity, seed())
    assert KnownImages([ready("image-0")]).takes(IMAGE.identity, seed())


def test_an_image_that_only_the_gateway_had_is_found_once() -> None:
    known = KnownImages([])
    assert known.takes(IMAGE.identity, seed())
    assert not known.takes(IMAGE.identity, seed())


def test_an_image_that_was_deleted_in_between_may_be_found_again() -> None:
    known = KnownImages([ready()])
    assert known.takes(IMAGE.identity, Deleted(at=1.0, rebate=Decimal(0)))
    assert known.takes(IMAGE.identity, seed("image-2"))


def test_every_other_event_is_taken() -> None:
    known = KnownImages([ready()])
    held = held_event(1)
    assert known.takes("2" * 64, held)
    assert known.takes(IMAGE.identity, intended_event(1, "2" * 64))


def test_the_rebate_of_an_image_that_the_main_run_bought_counts_after_the_merge() -> None:
    payer, ledger = "2" * 64, Ledger()
    bought = [
        intended_event(3, payer),
        Created(at=1.0, asset_id="image-1", credits=Decimal(3)),
        Uploaded(at=1.0),
        BecameReady(at=1.0),
    ]
    for event in bought:
        ledger.apply(IMAGE.identity, event)
    known = KnownImages([ready()])
    merged = [
        event
        for event in (seed(), Deleted(at=2.0, rebate=Decimal(2)))
        if known.takes(IMAGE.identity, event)
    ]
    for event in merged:
        ledger.apply(IMAGE.identity, event)
    assert (ledger.spent, ledger.reused_assets) == (Decimal(1), 0)


STOP, WORSE = (
    ErrorInfo("INSUFFICIENT_CREDITS", "too few"),
    ErrorInfo("INTERRUPTED", "stopped by a signal"),
)
DONE = Ending(RunStatus.SUCCEEDED, 0)
BLOCKED = Ending(RunStatus.BLOCKED, 4, {"workflow:w": STOP})
INTERRUPTED = Ending(RunStatus.INTERRUPTED, 130, {"*": WORSE, "workflow:w": WORSE})


def test_the_stops_of_all_shards_are_united_and_the_worse_ending_counts() -> None:
    assert united_stops({1: DONE, 2: BLOCKED}, ()) == {"workflow:w": STOP}
    used_up = Ending(RunStatus.BLOCKED, 4, {"workflow:w": ErrorInfo("BUDGET_EXHAUSTED", "4 of 5")})
    assert "allowances" in united_stops({1: used_up}, ())["workflow:w"].message
    assert united_stops({1: BLOCKED, 2: INTERRUPTED}, ()) == {"*": WORSE, "workflow:w": WORSE}


def test_a_shard_that_was_killed_or_abandoned_is_named_unless_there_is_another_reason() -> None:
    assert united_stops({1: DONE, 2: None}, ())["*"].code == SHARD_UNFINISHED
    assert "shard 2" in united_stops({1: DONE, 2: None}, ())["*"].message
    assert united_stops({1: DONE}, (3, 4))["*"].code == SHARD_ABANDONED
    assert "shards 3, 4" in united_stops({1: DONE}, (3, 4))["*"].message
    assert united_stops({1: INTERRUPTED, 2: None}, (3,))["*"] == WORSE


@each_case(
    "endings, counts, left_over, code",
    [
        ([DONE, DONE], {Outcome.SUCCEEDED: 2}, False, 0),
        ([DONE, BLOCKED], {Outcome.SUCCEEDED: 1, Outcome.BLOCKED: 1}, False, 4),
        ([BLOCKED, INTERRUPTED], {Outcome.BLOCKED: 2}, False, 130),
        (
            [DONE, DONE],
            {Outcome.SUCCEEDED: 1, Outcome.FAILED: 1},
            False,
            1,
        ),  # it failed in the main run before
        ([DONE, None], {Outcome.SUCCEEDED: 1, Outcome.PENDING: 1}, True, 5),
        ([DONE, None], {Outcome.SUCCEEDED: 2}, False, 0),  # it was killed after its last job
        ([BLOCKED, None], {Outcome.BLOCKED: 2}, True, 5),
        ([Ending(RunStatus.STOPPED, 3)], {Outcome.PENDING: 1}, False, 3),
        ([Ending(RunStatus.STOPPED, 3), INTERRUPTED], {Outcome.PENDING: 2}, False, 130),
    ],
)
def test_the_merged_run_has_the_worst_ending_of_its_shards(
    endings: list[Ending | None], counts: dict[Outcome, int], left_over: bool, code: int
) -> None:
    assert conclude_merged(Counter(counts), {}, endings, left_over=left_over).exit_code == code


def test_jobs_that_were_left_out_of_a_division_are_stopped_by_the_budget() -> None:
    (stop,) = united_stops({1: Ending(RunStatus.SUCCEEDED, 0)}, (), left_out=2).values()
    assert stop.code == BUDGET_EXHAUSTED
    assert "2 jobs" in stop.message
    assert united_stops({1: None}, (), left_out=1)[EVERYTHING].code == SHARD_UNFINISHED
    assert united_stops({1: Ending(RunStatus.SUCCEEDED, 0)}, ()) == {}
