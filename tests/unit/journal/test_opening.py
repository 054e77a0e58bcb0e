"""A journal opens whole or not at all, and a new plan changes nothing but what is asked for."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.errors import JournalError, RunDirectoryError
from crucible_batch.journal import Journal, lock_run_directory
from crucible_batch.journal.database import FORMAT

RULE = RetryRule()


def file_of(ground: Any) -> Path:
    return Path(ground.directory) / ".crucible" / "journal.sqlite3"


def test_a_file_that_is_no_journal_is_not_left_open(ground: Any) -> None:
    file_of(ground).parent.mkdir(parents=True)
    file_of(ground).write_bytes(b"not a database at all" * 100)
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    with pytest.raises(JournalError) as caught, ground.open():
        pass
    assert len(list(descriptors.iterdir())) == before, (
        caught
    )  # whose traceback would keep a connection alive


GARBAGE = b"not a database at all" * 100


def test_a_file_that_is_no_journal_is_said_to_be_none_and_stays_as_it_is(ground: Any) -> None:
    file_of(ground).parent.mkdir(parents=True)
    file_of(ground).write_bytes(GARBAGE)

    def read() -> None:
        with Journal.read(ground.directory) as reader:
            reader.binding()

    def write() -> None:
        with ground.open():
            pass

    for attempt in (read, write):
        with pytest.raises(
            JournalError, match="can't be read as a journal; nothing was changed"
        ) as caught:
            attempt()
        assert str(file_of(ground)) in caught.value.message
        assert "which restores the jobs from receipts.jsonl" in (caught.value.hint or "")
        assert "intact" not in str(caught.value) + (caught.value.hint or "")
        assert file_of(ground).read_bytes() == GARBAGE


def test_a_journal_that_is_damaged_within_is_said_to_be_so(ground: Any) -> None:
    with ground.open() as journal, ground.plan(*"abcdefgh") as plan:
        journal.adopt(plan)
    content = file_of(ground).read_bytes()
    file_of(ground).write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with (
        pytest.raises(JournalError, match="is damaged: ") as caught,
        Journal.read(ground.directory) as reader,
    ):
        list(reader.jobs(RULE))
    assert "restore it from a backup" in (caught.value.hint or "")


def test_the_format_commits_with_the_record_of_itself(ground: Any) -> None:
    for _ in range(2):
        with ground.open(), closing(sqlite3.connect(file_of(ground))) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (FORMAT,)
            assert connection.execute("SELECT format, applied_at FROM migrations").fetchall() == [
                (FORMAT, 1.0)
            ]


PLANTED = [
    ".crucible",
    *(f".crucible/journal.sqlite3{end}" for end in ("", "-wal", "-shm", "-journal")),
    ".crucible/lock",
]
ELSEWHERE = b"what nobody may touch"


def _attempts(ground: Any) -> list[Callable[[], AbstractContextManager[object]]]:
    return [
        lambda: lock_run_directory(ground.directory),
        ground.open,
        lambda: Journal.read(ground.directory),
        lambda: nullcontext(Journal.exists(ground.directory)),
    ]


@pytest.mark.parametrize("attempt", range(4))
@pytest.mark.parametrize("target", ["file", "folder", "nothing"])
@pytest.mark.parametrize("planted", PLANTED)
def test_no_link_is_followed_out_of_the_run_directory(
    ground: Any, tmp_path_factory: pytest.TempPathFactory, planted: str, target: str, attempt: int
) -> None:
    with lock_run_directory(ground.directory), ground.open():
        pass
    home = tmp_path_factory.mktemp("home")
    (home / "file").write_bytes(ELSEWHERE)
    (home / "folder").mkdir()
    place = Path(ground.directory) / planted
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    place.symlink_to(home / target)
    with (
        pytest.raises(RunDirectoryError, match="is a symbolic link") as caught,
        _attempts(ground)[attempt](),
    ):
        pass
    assert str(place) in caught.value.message
    assert sorted(path.name for path in home.rglob("*")) == ["file", "folder"]
    assert (home / "file").read_bytes() == ELSEWHERE
    assert place.is_symlink()


@pytest.mark.parametrize("planted", PLANTED[1:])
def test_what_is_no_plain_file_is_refused(ground: Any, planted: str) -> None:
    with lock_run_directory(ground.directory), ground.open():
        pass
    place = Path(ground.directory) / planted
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    for attempt in _attempts(ground):
        with pytest.raises(RunDirectoryError, match="is not a regular file"), attempt():
            pass


@pytest.mark.parametrize("name", ["journal.sqlite3", "journal.sqlite3-wal", "lock"])
def test_a_second_name_of_another_file_is_not_written_to(
    ground: Any, tmp_path: Path, name: str
) -> None:
    with ground.open():
        pass
    (tmp_path / "file").write_bytes(ELSEWHERE)
    place = file_of(ground).with_name(name)
    place.unlink(missing_ok=True)
    os.link(tmp_path / "file", place)
    for attempt in _attempts(ground):
        with pytest.raises(RunDirectoryError, match="hard link"), attempt():
            pass
    assert (tmp_path / "file").read_bytes() == ELSEWHERE


@pytest.mark.parametrize("version", [0, 1, 99])
@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize(
    "content", ["CREATE TABLE moz_cookies (value)", "CREATE VIEW moz_cookies AS SELECT 1"]
)
def test_a_database_of_something_else_is_refused_and_stays_as_it_is(
    ground: Any, mode: str, version: int, content: str
) -> None:
    file_of(ground).parent.mkdir()
    with closing(sqlite3.connect(file_of(ground))) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute(content)
    before = file_of(ground).read_bytes()
    for attempt in (ground.open, lambda: Journal.read(ground.directory)):
        with pytest.raises(JournalError, match="a database of another program"), attempt():
            pass
    assert file_of(ground).read_bytes() == before
    assert [path.name for path in file_of(ground).parent.iterdir()] == ["journal.sqlite3"]


def test_a_schema_with_names_that_are_no_text_is_damaged(ground: Any) -> None:
    with ground.open():
        pass
    with closing(sqlite3.connect(file_of(ground), isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "INSERT INTO sqlite_master"
            " VALUES ('table', CAST(x'ff' AS TEXT), CAST(x'ff' AS TEXT), 0, 'CREATE TABLE z (a)')"
        )
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for attempt in (ground.open, lambda: Journal.read(ground.directory)):
        with pytest.raises(JournalError, match="is damaged") as caught, attempt():
            pass
        assert len(list(descriptors.iterdir())) == before, caught


@pytest.mark.parametrize("table", ["meta", "migrations", "events", "plan", "retired", "runs"])
def test_a_journal_that_lacks_a_table_is_damaged_and_stays_as_it_is(
    ground: Any, table: str
) -> None:
    with ground.open():
        pass
    with closing(sqlite3.connect(file_of(ground))) as connection:
        connection.execute(f"DROP TABLE {table}")
    before = file_of(ground).read_bytes()
    for attempt in (ground.open, lambda: Journal.read(ground.directory)):
        with pytest.raises(JournalError, match=f"is damaged: it has no table {table};"), attempt():
            pass
    assert file_of(ground).read_bytes() == before


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_file_that_a_killed_run_left_without_tables_is_no_journal_yet(
    ground: Any, mode: str
) -> None:
    """Otherwise every later run that reads it before it is opened for writing would call it
    damaged."""
    path = file_of(ground)
    path.parent.mkdir(parents=True)
    path.touch()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.close()
    assert not Journal.exists(ground.directory)
    with pytest.raises(RunDirectoryError), Journal.read(ground.directory):
        pass
    with ground.open():
        assert Journal.exists(
            ground.directory
        )  # before it is closed, its tables are in the write-ahead log
    assert Journal.exists(ground.directory)
    path.write_bytes(b"damaged")
    assert Journal.exists(ground.directory)
