"""The list of runs: what counts as a run directory, its state, the order, and what bounds it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from crucible_batch.journal import lock_run_directory
from crucible_batch.runs import run_list
from crucible_batch.runs.run_list import RunState, list_runs
from tests.harness.case_table import each_case
from tests.unit.journal.kept.make import KEPT

JOURNAL = min(KEPT.glob("*/*/journal.sqlite3"))


def make_run(
    run_dir: Path, *, began_at: float = 1000.0, finished_at: float | None = None, exit_code: int = 0
) -> Path:
    """Copy a journal, and give its newest run another begin and end, or no end, as if killed."""
    (run_dir / ".crucible").mkdir(parents=True)
    path = run_dir / ".crucible" / "journal.sqlite3"
    shutil.copyfile(JOURNAL, path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE runs SET started_at = ?", (began_at,))
        if finished_at is None:
            connection.execute("UPDATE runs SET ending = NULL, finished_at = NULL")
        else:
            connection.execute(
                "UPDATE runs SET finished_at = ?, ending = json_set(ending, '$.exit_code', ?)",
                (finished_at, exit_code),
            )
    connection.close()
    return run_dir


def listed(root: Path, **options: int) -> list[tuple[str, RunState]]:
    return [
        (run.run_dir.relative_to(root).as_posix(), run.state)
        for run in list_runs(root, **options).runs
    ]


def test_running_runs_come_first_then_the_newest_and_unreadable_ones_last(tmp_path: Path) -> None:
    make_run(tmp_path / "a" / "default", finished_at=2000)
    make_run(tmp_path / "b" / "default", finished_at=3000, exit_code=1)
    make_run(tmp_path / "b" / "night", finished_at=2500, exit_code=4)
    make_run(tmp_path / "c" / "default", began_at=2800)
    make_run(tmp_path / "d" / "default", began_at=1500)
    make_run(tmp_path / "e" / "default")
    (tmp_path / "e" / "default" / ".crucible" / "journal.sqlite3").write_bytes(b"no database" * 100)
    with lock_run_directory(tmp_path / "d" / "default"):
        assert listed(tmp_path) == [
            ("d/default", RunState.RUNNING),
            ("b/default", RunState.FAILED_JOBS),
            ("c/default", RunState.KILLED),
            ("b/night", RunState.STOPPED),
            ("a/default", RunState.DONE),
            ("e/default", RunState.UNREADABLE),
        ]
    (damaged,) = [run for run in list_runs(tmp_path).runs if run.error is not None]
    assert damaged.error is not None
    assert "damaged" in damaged.error.message


def test_a_run_directory_itself_is_a_list_of_one_and_what_does_not_exist_of_none(
    tmp_path: Path,
) -> None:
    run_dir = make_run(tmp_path / "a" / "default", finished_at=2000)
    assert [run.run_dir for run in list_runs(run_dir).runs] == [run_dir]
    missing = list_runs(tmp_path / "nowhere")
    assert (missing.runs, missing.found, missing.is_complete) == ((), 0, True)


def test_links_hidden_folders_pipes_and_deeper_folders_are_not_runs(tmp_path: Path) -> None:
    outside = make_run(tmp_path / "outside", finished_at=2000)
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "linked").symlink_to(outside)
    (root / "linked-state").mkdir()
    (root / "linked-state" / ".crucible").symlink_to(outside / ".crucible")
    (root / "linked-journal" / ".crucible").mkdir(parents=True)
    (root / "linked-journal" / ".crucible" / "journal.sqlite3").symlink_to(
        outside / ".crucible" / "journal.sqlite3"
    )
    (root / "pipe" / ".crucible").mkdir(parents=True)
    os.mkfifo(root / "pipe" / ".crucible" / "journal.sqlite3")
    (root / "file").write_text("x")
    make_run(root / ".hidden", finished_at=2000)
    make_run(root / "one" / "two" / "three", finished_at=2000)
    assert list_runs(root).found == 0


def test_of_too_many_runs_those_written_last_are_listed(tmp_path: Path) -> None:
    for number in range(5):
        journal = (
            make_run(tmp_path / f"{number}", finished_at=2000 - number)
            / ".crucible"
            / "journal.sqlite3"
        )
        os.utime(journal, (5000 + number, 5000 + number))
    assert [name for name, _ in listed(tmp_path, limit=2)] == ["3", "4"]
    assert list_runs(tmp_path, limit=2).found == 5


def test_a_search_ends_in_a_folder_of_too_many_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        make_run(tmp_path / f"{number}", finished_at=2000)
    monkeypatch.setattr(run_list, "_MOST_ENTRIES", 4)
    found = list_runs(tmp_path)
    assert (found.found, found.is_complete) == (3, False)


HOSTILE = {
    "terms that are text": "UPDATE runs SET terms = 'x'",
    "terms that are a list": "UPDATE runs SET terms = '[]'",
    "an ending that is a number": "UPDATE runs SET ending = 7",
    "a time that is no number": "UPDATE runs SET started_at = 'soon'",
    "a time beyond all years": "UPDATE runs SET finished_at = 9e99",
    "an infinite time": "UPDATE runs SET started_at = 9e999",
    "an event of no kind": "UPDATE events SET type = 'Nonsense' WHERE seq = 1",
    "an event without a body": "UPDATE events SET body = '{}'",
    "credits that are no number": "UPDATE events SET body = json_set(body, '$.credits', 'NaN')",
    "a plan that is text": "UPDATE plan SET body = 'x'",
    "no runs": "DELETE FROM runs",
    "no table of events": "DROP TABLE events",
    "a view for a table": "DROP TABLE runs; CREATE VIEW runs AS SELECT 1",
}


@each_case("name", HOSTILE)
def test_a_hostile_journal_is_listed_and_hides_no_other_run(tmp_path: Path, name: str) -> None:
    make_run(tmp_path / "good", finished_at=2000)
    with sqlite3.connect(
        make_run(tmp_path / "bad", finished_at=3000) / ".crucible" / "journal.sqlite3"
    ) as connection:
        connection.executescript(HOSTILE[name])
    connection.close()
    assert ("good", RunState.DONE) in listed(tmp_path)
    assert len(listed(tmp_path)) == 2


def test_a_project_directory_lists_the_runs_of_its_outputs(tmp_path: Path) -> None:
    project = tmp_path / "project"
    run = make_run(project / "outputs" / "name" / "default", finished_at=2000)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "outputs").symlink_to(project / "outputs")
    assert [listed.run_dir for listed in list_runs(project).runs] == [run]
    assert list_runs(tmp_path / "linked").found == 0
