"""Looking again and again comes to the same as reading everything anew: after each event of real
runs.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crucible_batch.errors import RunDirectoryError
from crucible_batch.features.view.watching import Watch
from crucible_batch.journal import lock_run_directory
from crucible_batch.runs.reporting import report_rows
from crucible_batch.runs.status import read_status
from tests.unit.journal.kept.make import KEPT

JOURNALS = sorted(path.relative_to(KEPT) for path in KEPT.glob("*/*/journal.sqlite3"))


@pytest.fixture(params=JOURNALS, ids=str)
def run_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / ".crucible").mkdir()
    shutil.copyfile(KEPT / request.param, tmp_path / ".crucible" / "journal.sqlite3")
    return tmp_path


@contextmanager
def writing(run_dir: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(run_dir / ".crucible" / "journal.sqlite3", isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def take_all_events(run_dir: Path) -> list[tuple[object, ...]]:
    """Put the journal back to where its newest run began, and return what happened since."""
    with writing(run_dir) as connection:
        events = connection.execute(
            "SELECT seq, subject, type, body FROM events ORDER BY seq"
        ).fetchall()
        connection.execute("DELETE FROM events")
        connection.execute("UPDATE runs SET ending = NULL, finished_at = NULL")
    return events


def test_each_look_sees_what_a_whole_reading_sees_and_the_changes_make_up_the_rest(
    run_dir: Path,
) -> None:
    events = take_all_events(run_dir)
    watch = Watch(run_dir)
    rows, seen = [*watch.rows()], watch.look().number
    assert len(events) > 20
    with writing(run_dir) as connection:
        for number, event in enumerate(events):
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?)", event)
            sight = watch.look()
            assert sight.status == read_status(run_dir)
            assert sight.number == event[0]
            if number % 3 == 0:  # a page doesn't come by after each event
                for place, row in watch.changed(after=seen):
                    rows[place] = row
                seen = sight.number
                assert rows == list(report_rows(run_dir))
    assert watch.changed(after=watch.look().number) == []


def test_what_is_told_as_changed_is_what_anything_happened_to(run_dir: Path) -> None:
    events = take_all_events(run_dir)
    watch = Watch(run_dir)
    watch.look()
    with writing(run_dir) as connection:
        identities = [
            identity
            for (identity,) in connection.execute("SELECT identity FROM plan ORDER BY position")
        ]
        for event in events:
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?)", event)
            before = watch.look().number - 1
            told = [identities[place] for place, _ in watch.changed(after=before)]
            assert told == ([event[1]] if event[1] in identities else [])


def test_the_edition_is_another_when_a_run_ends_dies_or_begins(run_dir: Path) -> None:
    take_all_events(run_dir)
    watch = Watch(run_dir)
    with writing(run_dir) as connection:
        with lock_run_directory(run_dir):
            running = watch.look()
            assert (running.status.running, running.killed) == (True, False)
        killed = watch.look()
        assert (killed.status.running, killed.killed) == (False, True)
        connection.execute(
            "INSERT INTO runs (started_at, terms) SELECT started_at, terms FROM runs LIMIT 1"
        )
        with lock_run_directory(run_dir):
            again = watch.look()
        assert len({running.edition, killed.edition, again.edition}) == 3
        assert watch.look().edition not in {running.edition, killed.edition, again.edition}


def test_a_submit_that_is_on_its_way_is_unknown_only_once_nobody_waits_for_its_answer(
    run_dir: Path,
) -> None:
    events = take_all_events(run_dir)
    held = next(event for event in events if event[2] == "Held" and _needs_no_image(run_dir, event))
    with writing(run_dir) as connection:
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?)", held)
    watch = Watch(run_dir)
    with lock_run_directory(run_dir):
        assert (watch.look().status.report.counts.unknown, _statuses(watch)) == (0, {"pending"})
        assert {row.error for row in watch.rows()} == {None}
    assert (watch.look().status.report.counts.unknown, _statuses(watch)) == (
        1,
        {"pending", "unknown"},
    )
    assert [row.error.code for row in watch.rows() if row.error is not None] == [
        "SUBMIT_UNANSWERED"
    ]


def test_pictures_ends_and_pace_are_those_of_the_rows_while_the_run_is_active(
    run_dir: Path,
) -> None:
    events = take_all_events(run_dir)
    with lock_run_directory(run_dir), writing(run_dir) as connection:
        connection.execute("UPDATE runs SET started_at = 0.0")
        watch = Watch(run_dir)
        begun = watch.look()
        assert (begun.ended_at, begun.pace.per_min(60.0), begun.pace.left(0, 60.0)) == (
            (),
            None,
            None,
        )
        for event in events:
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?)", event)
            watch.look()
        rows = list(watch.rows())
        done = [row for row in rows if row.status in {"succeeded", "failed"}]
        pending = sum(row.status == "pending" for row in rows)
        for seen in (watch.look(), Watch(run_dir).look()):
            assert seen.pictures == sum(len(row.outputs) for row in rows)
            assert len(seen.ended_at) == len(done)
            assert list(seen.ended_at) == sorted(seen.ended_at)
            assert seen.pace.per_min(60.0) == (len(done) or None)
            left = seen.pace.left(seen.status.report.counts.pending, 60.0)
            assert (left and left.likely_s) == (
                pending * 60 / len(done) if pending and done else None
            )
    ended = Watch(run_dir).look()
    assert (ended.ended_at, ended.pace.per_min(60.0)) == ((), None)


def test_ends_of_earlier_runs_are_not_part_of_the_pace(run_dir: Path) -> None:
    with lock_run_directory(run_dir), writing(run_dir) as connection:
        connection.execute("UPDATE runs SET ending = NULL, finished_at = NULL, started_at = 9e10")
        assert Watch(run_dir).look().ended_at == ()


def _statuses(watch: Watch) -> set[str]:
    return {row.status for row in watch.rows()}


def _needs_no_image(run_dir: Path, event: tuple[object, ...]) -> bool:
    query = "SELECT json_extract(body, '$.images') FROM plan WHERE identity = ?"
    with writing(run_dir) as connection:
        return connection.execute(query, (event[1],)).fetchone()[0] == "{}"


def test_a_directory_in_which_nothing_has_begun_reports_it(run_dir: Path) -> None:
    with writing(run_dir) as connection:
        connection.execute("DELETE FROM runs")
    with pytest.raises(RunDirectoryError, match="no run has begun"):
        Watch(run_dir).look()
    with pytest.raises(RunDirectoryError, match="it does not exist"):
        Watch(run_dir / "nowhere").look()
