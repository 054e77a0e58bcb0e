"""Group commit: durable before it returns, in order, at a kill, and never a hang."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from crucible_batch.core.identity import of_generation
from crucible_batch.errors import JournalError
from crucible_batch.journal import Journal, group_commit
from crucible_batch.journal.group_commit import GroupCommitWriter

SEE_TO_THE_DISK = (
    "check the disk (full? read-only?) and run the same command again;"
    " all journalled events are intact"
)


def stored(path: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(path) as connection:
        rows = list(connection.execute("SELECT subject, type FROM events ORDER BY seq"))
    connection.close()
    return rows


async def test_the_order_of_giving_is_the_order_in_the_journal(tmp_path, binding, held):
    with Journal.open(tmp_path, binding, now=1.0) as journal:
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(journal.append(f"{number:064x}", held(number)))
        assert [subject for subject, _ in journal.events()] == [
            f"{number:064x}" for number in range(50)
        ]


async def test_what_is_given_during_a_commit_shares_the_next_one(
    tmp_path, binding, held, monkeypatch
):
    may_go_on, commit, commits = threading.Event(), group_commit._commit, []

    def counted_commit(*arguments):
        commits.append(arguments)
        may_go_on.wait(60)
        commit(*arguments)

    monkeypatch.setattr(group_commit, "_commit", counted_commit)
    with Journal.open(tmp_path, binding, now=1.0) as journal:
        first = asyncio.ensure_future(journal.append("0", held(0)))
        while not commits:
            await asyncio.sleep(0.001)
        others = [
            asyncio.ensure_future(journal.append(str(number), held(number)))
            for number in range(1, 10)
        ]
        await asyncio.sleep(0)
        may_go_on.set()
        await asyncio.gather(first, *others)
    assert len(commits) == 2


async def test_fsync_is_asked_for_at_each_commit(tmp_path, binding):
    """FULL in WAL mode: NORMAL lost the last commits in a power cut."""
    with Journal.open(tmp_path, binding, now=1.0) as journal:
        connection = journal._connect()
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA fullfsync").fetchone() == (1,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()


def writers() -> set[threading.Thread]:
    """The threads that write journals, also those that killed runs of earlier tests have left
    behind."""
    return {thread for thread in threading.enumerate() if thread.name == "journal-writer"}


async def test_a_wait_that_is_cancelled_takes_nothing_back(tmp_path, binding, held):
    with Journal.open(tmp_path, binding, now=1.0) as journal:
        await journal.append("warm", held(0))
        task = asyncio.ensure_future(journal.append("a", held(1)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await journal.append("b", held(2))
        assert [subject for subject, _ in journal.events()] == ["warm", "a", "b"]


async def test_closing_writes_what_is_queued_and_may_be_done_twice(tmp_path, binding, held):
    before = writers()
    with Journal.open(tmp_path, binding, now=1.0) as journal:
        await journal.append("warm", held(0))
        tasks = [asyncio.ensure_future(journal.append(f"{n}", held(n))) for n in range(20)]
        await asyncio.sleep(0)
        journal.close()
        journal.close()
        await asyncio.gather(*tasks)
        assert writers() <= before
    assert len(stored(tmp_path / ".crucible" / "journal.sqlite3")) == 21


async def test_drained_is_what_nobody_waits_for_any_more(tmp_path, binding, held, monkeypatch):
    on_disk, commit = threading.Event(), group_commit._commit

    def slow_commit(*arguments):
        on_disk.wait(60)
        commit(*arguments)

    monkeypatch.setattr(group_commit, "_commit", slow_commit)
    with Journal.open(tmp_path, binding, now=1.0) as journal:
        await journal.drain()  # nothing was ever given to it
        given = asyncio.ensure_future(journal.append(f"{0:064x}", held(0)))
        await asyncio.sleep(0)
        given.cancel()
        drained = asyncio.ensure_future(journal.drain())
        await asyncio.sleep(0)
        assert not drained.done()
        on_disk.set()
        await drained
        assert [subject for subject, _ in journal.events()] == [f"{0:064x}"]


def test_a_restore_that_ends_early_stores_nothing(tmp_path, binding, held):
    def rebuilt():
        yield "a", [held(0)]
        raise LookupError

    with Journal.open(tmp_path, binding, now=1.0) as journal:
        with pytest.raises(LookupError):
            journal.restore(rebuilt())
        assert list(journal.events()) == []


async def test_the_writer_is_a_thread_that_keeps_no_process_alive(tmp_path, binding, held):
    before = writers()
    with Journal.open(tmp_path, binding, now=1.0) as journal:
        await journal.append("warm", held(0))
        assert [thread.daemon for thread in writers() - before] == [True]
    assert writers() <= before


async def test_a_cancelled_wait_leaves_nobody_of_its_commit_waiting():
    gate = threading.Event()

    def connect() -> sqlite3.Connection:
        gate.wait(60)
        return sqlite3.connect(":memory:", isolation_level=None)

    writer = GroupCommitWriter(connect)
    try:
        first, cancelled, last = (
            asyncio.ensure_future(writer.write(("SELECT 1", ()))) for _ in range(3)
        )
        await asyncio.sleep(0.01)
        cancelled.cancel()
        await asyncio.sleep(0)
        gate.set()
        async with asyncio.timeout(120):
            assert await asyncio.gather(first, last) == [None, None]
    finally:
        writer.close()


async def test_of_a_commit_that_fails_nothing_stays_and_nothing_is_left_open():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE events (n)")
    waiting = asyncio.get_running_loop().create_future()
    writes = [
        group_commit._Write([(sql, ())], waiting)
        for sql in ("INSERT INTO events VALUES (1)", "INSERT INTO nowhere VALUES (1)")
    ]
    with pytest.raises(sqlite3.OperationalError):
        group_commit._commit(connection, writes)
    assert not connection.in_transaction
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
    connection.close()


async def test_the_first_failure_is_final_for_all_that_wait_and_come_later():
    """Nothing else is written: its events would be in the journal, and nobody would act on them."""
    entered, gate, executed = threading.Event(), threading.Event(), list[object]()

    class Failing:
        in_transaction = False

        def execute(self, *statement: object) -> None:
            executed.append(statement)
            entered.set()
            gate.wait(60)
            raise sqlite3.OperationalError("database or disk is full")

        def close(self) -> None: ...

    writer = GroupCommitWriter(Failing)  # type: ignore[arg-type]
    try:
        tasks = [asyncio.ensure_future(writer.write(("x", ())))]
        await asyncio.to_thread(entered.wait, 60)
        tasks += [asyncio.ensure_future(writer.write(("x", ()))) for _ in range(2)]
        await asyncio.sleep(0)
        gate.set()
        async with asyncio.timeout(120):
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in results] == [JournalError] * 3
            assert results[0].hint == SEE_TO_THE_DISK
            with pytest.raises(JournalError, match="full"):
                await writer.write(("x", ()))
            assert len(executed) == 1
    finally:
        writer.close()


async def test_a_connection_that_can_not_be_made_fails_the_writes_and_hangs_nobody():
    def refuse() -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    writer = GroupCommitWriter(refuse)
    try:
        async with asyncio.timeout(120):
            with pytest.raises(JournalError, match="unable"):
                await writer.write(("x", ()))
    finally:
        writer.close()


async def test_an_error_that_is_no_database_error_hangs_nobody_either():
    """Text with half of a surrogate pair, say: the thread that dies of it must not leave its
    writers waiting.
    """
    writer = GroupCommitWriter(lambda: sqlite3.connect(":memory:", isolation_level=None))
    try:
        async with asyncio.timeout(120):
            with pytest.raises(JournalError):
                await writer.write(("SELECT ?", ("\ud800",)))
    finally:
        writer.close()


async def test_a_closed_journal_refuses_and_hangs_nobody(ground, held):
    with ground.open() as journal:
        await journal.append("subject", held(0))
    async with asyncio.timeout(120):
        with pytest.raises(JournalError, match="the journal is closed"):
            await journal.append("subject", held(1))


async def test_a_job_is_added_to_the_plan_and_taken_from_the_retired_in_one_transaction(
    ground, held
):
    job = ground.planned("fox", 1)
    with ground.open() as journal:
        await journal.append(job.identity, held(0))
        for names in (("owl", "fox"), ("owl",)):
            with ground.plan(*names) as plan:
                journal.adopt(plan)
    with ground.open() as journal:
        connect = journal._connect

        def failing_halfway() -> sqlite3.Connection:
            def is_allowed(action: int, table: str | None, *_: object) -> int:
                is_second = action == sqlite3.SQLITE_DELETE and table == "retired"
                return sqlite3.SQLITE_DENY if is_second else sqlite3.SQLITE_OK

            connection = connect()
            connection.set_authorizer(is_allowed)
            return connection

        journal._connect = failing_halfway
        with pytest.raises(JournalError):
            await journal.append_planned(job)
    with ground.open() as journal:
        assert [planned.name for planned in journal.plan()] == ["owl"]
        assert [planned.name for planned, _ in journal.retired()] == ["fox"]
        await journal.append_planned(job)
        assert [planned.name for planned in journal.plan()] == ["owl", "fox"]
        assert list(journal.retired()) == []


async def test_a_generation_takes_the_place_of_the_one_before_which_is_kept(ground, held):
    job, other = ground.planned("fox", 0), ground.planned("owl", 1)
    again = replace(job, identity=of_generation(job.identity, 1))
    with ground.open() as journal:
        with ground.plan("fox", "owl") as plan:
            journal.adopt(plan)
        assert not journal.has_generations()
        await journal.append(job.identity, held(0))
        await journal.append_planned(again)
        assert [planned.identity for planned in journal.plan()] == [again.identity, other.identity]
        assert [planned.identity for planned, _ in journal.retired()] == [job.identity]
        assert journal.has_generations()
        ((earlier, state),) = journal.other_generations(again.identity)
        assert (earlier, len(state.attempts)) == (job, 1)
        assert journal.other_generations(other.identity) == []
        await journal.append_planned(job)
        assert [planned.identity for planned in journal.plan()] == [job.identity, other.identity]


async def test_a_note_about_a_job_is_durable_and_replaces_the_previous_one(tmp_path, binding):
    with Journal.open(tmp_path, binding, now=1.0) as journal:
        assert not journal.has_job_notes()
        for value in ("first", "second"):
            await journal.note_job("a", "checks 0", value)
        await journal.note_job("b", "checks 0", "other")
        with Journal.read(tmp_path) as reader:
            assert reader.has_job_notes()
            assert reader.job_notes("a") == {"checks 0": "second"}
            assert reader.job_notes("c") == {}
