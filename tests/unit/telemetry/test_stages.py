"""Stages of jobs: their begin and end are those of the events that the engine reports."""

from __future__ import annotations

from collections.abc import Iterable

from crucible_batch.domain.events import Missed, Relocated
from crucible_batch.domain.job import Phase
from crucible_batch.domain.progress import Message
from crucible_batch.telemetry.figures import StageTracker

from .messages import accepted, declined, failed, held, listed, made, moved, resumed, saved, whole_job


def stages(messages: Iterable[Message], tracker: StageTracker | None = None) -> list[tuple[str, float, float]]:
    """The ended stages with their begin and end."""
    tracker = tracker or StageTracker()
    found = [tracker.take(message) for message in messages]  # type: ignore[arg-type]
    return [(each.stage.value, each.began_at, each.ended_at or -1) for each in found if each is not None]


def test_each_stage_ends_where_the_next_begins() -> None:
    assert stages(whole_job("a", at=100)) == [
        ("upload", 100, 101), ("submit", 101, 103), ("wait", 103, 133), ("download", 133, 137),
    ]  # fmt: skip


def test_a_job_without_images_has_no_upload() -> None:
    assert stages([held("a", 1), accepted("a", 2)]) == [("submit", 1, 2)]


def test_the_second_poll_of_the_outputs_is_not_part_of_the_download() -> None:
    several = [made("a", 10, outputs=2), saved("a", 12), saved("a", 15, index=1), listed("a", 17)]
    assert stages([accepted("a", 5), *several]) == [("wait", 5, 10), ("download", 10, 15)]


def test_a_download_that_ends_with_its_file_ends_there() -> None:
    assert stages([made("a", 10), saved("a", 12, is_last=True)]) == [("download", 10, 12)]


def test_each_attempt_has_its_own_stages() -> None:
    again = [held("a", 1), accepted("a", 2), failed("a", 5, is_last=False), held("a", 6, 2), accepted("a", 8)]
    assert stages(again) == [("submit", 1, 2), ("wait", 2, 5), ("submit", 6, 8)]


def test_time_between_a_declined_submit_and_the_next_is_no_stage() -> None:
    assert stages([held("a", 1), declined("a", 3), held("a", 60), accepted("a", 61)]) == [
        ("submit", 1, 3), ("submit", 60, 61),
    ]  # fmt: skip


def test_a_resumed_job_counts_from_its_resumption() -> None:
    assert stages([resumed(500, "a", Phase.IN_FLIGHT, since=10), made("a", 520)]) == [("wait", 500, 520)]


def test_a_lost_file_is_downloaded_again_and_a_moved_one_is_not() -> None:
    lost = moved("a", Missed(at=7, index=0), Phase.SUCCEEDED, Phase.FETCHING)
    moved_aside = moved("a", Relocated(at=3, index=0, path="b"), Phase.SUCCEEDED, Phase.SUCCEEDED)
    assert stages([moved_aside, lost, saved("a", 9, is_last=True)]) == [("download", 7, 9)]


def test_the_end_of_the_run_ends_what_is_still_active_once() -> None:
    tracker = StageTracker()
    stages([held("a", 1), accepted("a", 2), held("b", 3)], tracker)
    assert [(each.stage.value, each.seconds) for each in tracker.end(10)] == [("wait", 8), ("submit", 7)]
    assert list(tracker.end(11)) == []


def test_a_clock_that_was_set_back_gives_no_negative_time() -> None:
    tracker = StageTracker()
    tracker.take(held("a", 100))
    ended = tracker.take(accepted("a", 40))
    assert ended is not None
    assert ended.seconds == 0
