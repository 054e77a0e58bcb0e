"""Which runs are pruned: the criteria, and what is kept whatever they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crucible_batch.features.prune.retention import (
    KeepCause,
    PruneCause,
    PruneDecision,
    RetentionRules,
    RunFacts,
    decide_pruning,
)
from tests.harness.case_table import each_case

DAY_S = 86_400.0
NOW = 100 * DAY_S


def run(day: int, *, manifest: str = "nightly", size: int = 10) -> RunFacts:
    return RunFacts(manifest, f"day-{day}", ended_at=day * DAY_S, byte_size=size)


RUNS = [run(60), run(70), run(80), run(90), run(99)]


def pruned(runs: list[RunFacts], rules: RetentionRules) -> list[str]:
    decisions = decide_pruning(runs, rules, now=NOW)
    return [
        each.run_id.removeprefix("day-")
        for each, decision in zip(runs, decisions, strict=True)
        if decision.prune
    ]


@each_case(
    "rules, gone",
    [
        (RetentionRules(older_than_s=25 * DAY_S), ["60", "70"]),
        (RetentionRules(older_than_s=30 * DAY_S), ["60"]),
        (RetentionRules(older_than_s=1.0), ["60", "70", "80", "90"]),
        (RetentionRules(keep=2), ["60", "70", "80"]),
        (RetentionRules(keep=9), []),
        (RetentionRules(max_bytes=50), []),
        (RetentionRules(max_bytes=49), ["60"]),
        (RetentionRules(max_bytes=20), ["60", "70", "80"]),
        (RetentionRules(max_bytes=0), ["60", "70", "80", "90"]),
        (RetentionRules(older_than_s=25 * DAY_S, keep=4), ["60"]),
        (RetentionRules(older_than_s=15 * DAY_S, keep=1), ["60", "70", "80"]),
        (RetentionRules(max_bytes=0, keep=3), ["60", "70"]),
        (RetentionRules(older_than_s=35 * DAY_S, max_bytes=30), ["60", "70"]),
        (RetentionRules(older_than_s=25 * DAY_S, max_bytes=30), ["60", "70"]),
    ],
)
def test_the_criteria_choose_the_oldest(rules: RetentionRules, gone: list[str]) -> None:
    assert pruned(RUNS, rules) == gone
    assert pruned(RUNS[::-1], rules) == gone[::-1]


def test_the_newest_runs_are_those_of_each_manifest() -> None:
    runs = [
        run(10),
        run(20),
        run(30, manifest="weekly"),
        run(40),
        run(50, manifest="weekly"),
        run(5, manifest="once"),
    ]
    assert pruned(runs, RetentionRules(keep=1)) == ["10", "20", "30"]
    assert pruned(runs, RetentionRules(max_bytes=0)) == ["10", "20", "30"]


@each_case(
    "change, cause",
    [
        ({"is_running": True}, KeepCause.RUNNING),
        ({"is_readable": False}, KeepCause.UNREADABLE),
        ({"has_held": True}, KeepCause.HELD),
        ({"has_unknown": True}, KeepCause.UNKNOWN),
        ({"has_shards": True}, KeepCause.SHARDS),
        ({"is_reported": False}, KeepCause.UNREPORTED),
        *(({"exit_code": code}, KeepCause.UNFINISHED) for code in (None, 3, 4, 5, 130, 143)),
    ],
)
@each_case("is_pruned", [False, True])
@each_case(
    "rules", [RetentionRules(older_than_s=1.0), RetentionRules(keep=1), RetentionRules(max_bytes=0)]
)
def test_a_run_that_may_be_needed_is_kept(
    change: dict[str, object], cause: KeepCause, rules: RetentionRules, is_pruned: bool
) -> None:
    # Each case names a field.
    old = replace(RUNS[0], is_pruned=is_pruned, **change)  # type: ignore[arg-type]
    decision, *_ = decide_pruning([old, *RUNS[1:]], rules, now=NOW)
    assert decision == PruneDecision(keep=cause)


@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_finished_run_is_pruned_also_if_jobs_failed(exit_code: int) -> None:
    assert pruned([replace(RUNS[0], exit_code=exit_code), *RUNS[1:]], RetentionRules(keep=4)) == [
        "60"
    ]


def test_a_run_in_progress_counts_as_the_newest() -> None:
    assert pruned([run(1), run(2), replace(run(3), is_running=True)], RetentionRules(keep=1)) == [
        "1",
        "2",
    ]
    assert pruned([run(1), run(2), replace(run(3), exit_code=4)], RetentionRules(keep=2)) == ["1"]


def test_an_interrupted_pruning_is_completed_whatever_the_criteria_are() -> None:
    half = replace(run(99), is_pruned=True)
    (*_, decision) = decide_pruning(
        [run(98), half], RetentionRules(older_than_s=50 * DAY_S), now=NOW
    )
    assert decision == PruneDecision(PruneCause.INTERRUPTED)


def test_a_pruned_run_is_not_the_newest_and_is_not_pruned_again() -> None:
    done = replace(run(99, size=0), is_pruned=True)
    decisions = decide_pruning([run(97), run(98), done], RetentionRules(keep=1), now=NOW)
    assert decisions == [
        PruneDecision(PruneCause.COUNT),
        PruneDecision(keep=KeepCause.NEWEST),
        PruneDecision(),
    ]


def test_kept_runs_count_towards_the_size() -> None:
    big = replace(run(50, size=100), exit_code=5)
    assert pruned([big, run(60), run(70)], RetentionRules(max_bytes=110)) == ["60"]


def test_a_run_without_files_is_not_pruned_by_size() -> None:
    assert pruned([run(50, size=0), run(60), run(70)], RetentionRules(max_bytes=10)) == ["60"]
