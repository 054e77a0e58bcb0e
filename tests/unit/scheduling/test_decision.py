"""What a scheduler starts and skips, by the table at the head of ``decision.py``."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import takewhile

import pytest

from crucible_batch.scheduling.schedules import ScheduledManifest
from crucible_batch.scheduling.serve.decision import Decision, ManifestState, Start, decide, ended, restarted
from tests.case_table import each_case

from .conftest import at, schedule

NIGHTLY = "15 3 * * *"
A, B = "/a.yaml", "/b.yaml"


def _decide(now: str, progress: ManifestState | None, *, catch_up: int = 0, cron: str = NIGHTLY) -> Decision:
    known = {} if progress is None else {A: progress}
    return decide({A: schedule(cron, catch_up=catch_up)}, known, at(now), 4)


def _start(time: str, catch_up: int = 0, attempt: int = 1) -> Start:
    return Start(at(time), A, catch_up, attempt)


@each_case(
    "now, catch_up, starts, skipped",
    [
        ("26 03:14", 0, [], 0),  # not due yet
        ("26 03:15", 0, [("26 03:15", 0)], 0),  # due
        ("26 03:20", 0, [("26 03:15", 0)], 0),  # five minutes late are on time
        ("26 03:21", 0, [], 1),  # later is missed
        ("26 03:21", 1, [("26 03:15", 0)], 0),  # and run afterwards with catch_up
        ("27 03:15", 0, [("27 03:15", 0)], 1),  # one missed before a due one
        ("27 03:15", 1, [("27 03:15", 1)], 0),
        ("28 03:15", 1, [("28 03:15", 1)], 1),  # two missed, of which one is caught up
        ("28 03:15", 5, [("28 03:15", 5)], 0),
        ("28 12:00", 2, [("28 03:15", 1)], 1),  # three missed, of which two run: the latest and the one before
        ("28 12:00", 0, [], 3),
    ],
)
def test_a_time_is_started_on_time_and_a_missed_one_within_catch_up(
    now: str, catch_up: int, starts: list[tuple[str, int]], skipped: int
) -> None:
    decision = _decide(now, ManifestState(at("25 12:00")), catch_up=catch_up)
    assert list(decision.starts) == [_start(*each) for each in starts]
    assert sum(skip.count for skip in decision.skips) == skipped
    assert _decide(now, decision.progress[A], catch_up=catch_up).starts == ()  # and no time twice


@each_case("late", [0, 4, 400])
def test_a_new_manifest_begins_now(late: int) -> None:
    now = at("26 03:15") + timedelta(minutes=late)
    decision = decide({A: schedule(NIGHTLY, catch_up=9)}, {}, now, 4)
    assert (decision.starts, decision.skips) == ((), ())
    assert decision.progress[A].handled == now


def test_a_time_during_a_run_is_skipped_and_reported() -> None:
    running = ManifestState(at("26 03:15"), running=_start("26 03:15"))
    decision = _decide("27 03:15", running)
    assert decision.starts == ()
    assert [(skip.count, skip.latest) for skip in decision.skips] == [(1, at("27 03:15"))]
    assert _decide("27 03:16", ended(decision.progress[A], 0, at("27 03:16"))).starts == ()


def test_a_time_during_a_run_is_started_after_it_with_catch_up() -> None:
    running = ManifestState(at("26 03:15"), running=_start("26 03:15"))
    during = _decide("27 05:00", running, catch_up=1)
    assert (during.starts, during.skips) == ((), ())
    after = _decide("27 06:00", ended(during.progress[A], 0, at("27 06:00")), catch_up=1)
    assert after.starts == (_start("27 03:15"),)


def test_two_manifests_run_together_and_never_more_than_the_limit() -> None:
    schedules = {A: schedule(NIGHTLY), B: schedule("14 3 * * *")}
    begin = {name: ManifestState(at("25 12:00")) for name in schedules}
    assert len(decide(schedules, begin, at("26 03:15"), 2).starts) == 2
    first = decide(schedules, begin, at("26 03:15"), 1)
    assert [start.manifest for start in first.starts] == [B]  # the earlier time
    much_later = decide(schedules, first.progress, at("26 09:00"), 1)
    assert (much_later.starts, much_later.skips) == ((), ())
    free = {**much_later.progress, B: ended(much_later.progress[B], 0, at("26 09:00"))}
    assert decide(schedules, free, at("26 09:00"), 1).starts == (_start("26 03:15"),)  # waited, and was not skipped


def test_a_run_of_a_removed_manifest_keeps_its_place_and_nothing_else() -> None:
    running = ManifestState(
        at("26 03:15"), running=_start("26 03:15"), retry=_start("26 03:15"), retry_at=at("26 03:00")
    )
    schedules = {B: schedule(NIGHTLY)}
    decision = decide(schedules, {A: running, B: ManifestState(at("25 12:00"))}, at("26 03:15"), 1)
    assert decision.starts == ()
    assert decision.progress[A].retry is None
    idle = decide(schedules, {A: replace(running, running=None)}, at("26 03:15"), 1)
    assert set(idle.progress) == {B}


_FINAL = (0, 1, 2, 3, 4, 6, 70, 143)


@each_case("exit_code, is_retried", [(5, True), (-9, True), *((code, False) for code in _FINAL)])
def test_only_exit_code_5_and_crashes_are_retried(exit_code: int, is_retried: bool) -> None:
    after = ended(ManifestState(at("26 03:15"), running=_start("26 03:15")), exit_code, at("26 03:30"))
    assert _decide("26 03:39", after).starts == ()
    assert bool(_decide("26 03:40", after).starts) is is_retried


def test_a_run_is_started_three_times_at_most() -> None:
    progress = ManifestState(at("26 03:15"), running=_start("26 03:15"))
    attempts = 1
    for hour in range(4, 12):
        progress = ended(progress, 5, at(f"26 {hour:02}:00"))
        decision = _decide(f"26 {hour:02}:30", progress)
        attempts += len(decision.starts)
        progress = decision.progress[A]
    assert attempts == 3


@pytest.mark.parametrize(("catch_up", "start", "skipped"), [(0, ("27 03:15", 0), 1), (1, ("27 03:15", 1), 0)])
def test_a_due_time_replaces_a_retry_which_is_then_caught_up_or_reported(
    catch_up: int, start: tuple[str, int], skipped: int
) -> None:
    retry = ManifestState(at("26 03:15"), retry=_start("26 03:15", attempt=2), retry_at=at("27 03:20"))
    decision = _decide("27 03:15", retry, catch_up=catch_up)
    assert decision.starts == (_start(*start),)
    assert sum(skip.count for skip in decision.skips) == skipped
    assert decision.progress[A].retry is None


def test_after_a_restart_an_unfinished_run_is_resumed_at_once() -> None:
    before = ManifestState(at("26 03:15"), running=_start("26 03:15"))
    decision = _decide("26 09:00", restarted(before, at("26 09:00")))
    assert decision.starts == (_start("26 03:15"),)


@each_case("field", ["running", "waiting", "retry"])
def test_after_a_restart_no_start_is_lost(field: str) -> None:
    before = replace(ManifestState(at("26 03:15")), **{field: _start("26 03:15")})
    assert restarted(before, at("26 04:00")).retry == _start("26 03:15")


def test_a_clock_that_was_set_back_starts_nothing_twice() -> None:
    begun = _decide("26 03:15", ManifestState(at("25 12:00")))
    idle = ended(begun.progress[A], 0, at("26 03:16"))
    for now in ("26 03:15", "26 03:14", "25 12:00", "26 03:15", "26 03:20"):
        decision = _decide(now, idle)
        assert (decision.starts, decision.skips) == ((), ())
        idle = decision.progress[A]
    assert _decide("27 03:15", idle).starts == (_start("27 03:15"),)


def test_a_clock_that_was_wrong_by_days_does_not_stop_the_schedule() -> None:
    decision = _decide("26 03:00", ManifestState(at("29 03:15")))
    assert decision.progress[A].handled == at("26 03:00")
    assert _decide("26 03:15", decision.progress[A]).starts == (_start("26 03:15"),)


def test_a_long_sleep_of_a_schedule_of_every_minute_is_counted_within_bounds() -> None:
    decision = _decide("26 03:15", ManifestState(at("01 00:00")), cron="* * * * *", catch_up=3)
    assert decision.starts == (_start("26 03:15", 3),)
    assert [skip.count for skip in decision.skips] == [996]


def test_each_time_of_a_month_is_started_once_however_often_the_scheduler_looks() -> None:
    progress, started = ManifestState(at("01 00:00")), []
    manifests: dict[str, ScheduledManifest] = {A: schedule("*/20 */5 * * *")}
    now = at("01 00:00")
    while now < at("05 00:00"):
        now += timedelta(seconds=173)
        decision = decide(manifests, {A: progress}, now, 1)
        assert not decision.skips
        started += [start.scheduled_at for start in decision.starts]
        progress = ended(decision.progress[A], 0, now) if decision.starts else decision.progress[A]
    expected = list(takewhile(lambda time: time > at("01 00:00"), manifests[A].times_until(now)))
    assert started == expected[::-1]
