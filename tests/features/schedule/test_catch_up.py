"""Which past times of a schedule are run before the current one, and how a command of several runs
ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

from crucible_batch.features.schedule.catch_up import (
    DueRun,
    KnownRun,
    ends_all,
    first_code,
    missed_runs,
)
from tests.harness.case_table import each_case

NOW = datetime(2026, 11, 26, 2, 15, tzinfo=UTC)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
CURRENT = DueRun(NOW, "26")
DAYS = [DueRun(NOW - timedelta(days=days), str(26 - days)) for days in (1, 2, 3)]
ABSENT, NONE = None, None


@each_case(
    "run, oldest, is_missed",
    [
        (ABSENT, LONG_AGO, True),
        (ABSENT, NOW - timedelta(days=1, seconds=1), True),
        (ABSENT, NOW - timedelta(days=1), False),
        (ABSENT, NOW - timedelta(hours=1), False),
        (ABSENT, NONE, False),
        (KnownRun(0), LONG_AGO, False),
        (KnownRun(1), LONG_AGO, False),
        (KnownRun(3), LONG_AGO, True),
        (KnownRun(4), LONG_AGO, True),
        (KnownRun(5), LONG_AGO, True),
        (KnownRun(130), LONG_AGO, True),
        (KnownRun(143), LONG_AGO, True),
        (KnownRun(None), LONG_AGO, True),  # killed
        (KnownRun(None, is_active=True), LONG_AGO, False),
        (KnownRun(5, is_active=True), LONG_AGO, False),
        (KnownRun(None), NOW - timedelta(hours=1), True),  # begun after its time, as every run is
        (KnownRun(0), NOW - timedelta(hours=1), False),
    ],
)
def test_a_time_is_missed_if_its_run_is_absent_or_not_finished(
    run: KnownRun | None, oldest: datetime | None, is_missed: bool
) -> None:
    known = {} if run is None else {"25": run}
    assert missed_runs(DAYS[:1], CURRENT, known, oldest) == (DAYS[:1] if is_missed else [])


def test_missed_runs_are_made_oldest_first_whatever_order_they_are_given_in() -> None:
    for order in permutations(DAYS):
        assert missed_runs(order, CURRENT, {}, LONG_AGO) == DAYS[::-1]
    assert [due.run_id for due in missed_runs(DAYS, CURRENT, {"24": KnownRun(0)}, LONG_AGO)] == [
        "23",
        "25",
    ]


def test_a_new_manifest_catches_up_nothing() -> None:
    assert missed_runs(DAYS, CURRENT, {}, None) == []
    began = DAYS[1].scheduled_at + timedelta(minutes=1)  # its first run, a little late
    assert missed_runs(DAYS, CURRENT, {"24": KnownRun(0)}, began) == [DAYS[0]]


def test_several_times_with_one_run_id_are_one_run_of_the_latest() -> None:
    hours = [
        DueRun(NOW - timedelta(hours=hours), "26" if hours < 3 else "25") for hours in range(1, 6)
    ]
    assert missed_runs(hours, CURRENT, {}, LONG_AGO) == [hours[2]]
    assert missed_runs(hours, CURRENT, {"25": KnownRun(1)}, LONG_AGO) == []
    assert missed_runs(hours, CURRENT, {"26": KnownRun(None)}, LONG_AGO) == [
        hours[2]
    ]  # 26 is the current one


@each_case(
    "codes, first",
    [
        ([], 0),
        ([0, 0], 0),
        ([0, 1], 1),
        ([1, 4], 4),
        ([4, 5], 5),
        ([5, 6], 6),
        ([5, 2, 1], 2),
        ([2, 3], 3),
        ([3, 143], 143),
        ([3, 130], 130),
        ([143, 130], 130),
        ([70, 143], 70),
    ],
)
def test_the_exit_code_is_the_first_by_the_documented_order(codes: list[int], first: int) -> None:
    for order in permutations(codes):
        assert first_code(order) == first


@each_case("code", range(256))
def test_only_a_signal_and_a_refused_key_prevent_further_runs(code: int) -> None:
    assert ends_all(code) is (code in {3, 130, 143})
