"""The journal's file: bound to one run, read while it is written, refused where it can't be
trusted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from crucible_batch.core.events import (
    Failed,
    Relocated,
)
from crucible_batch.core.gateway_types import AssetSpec, ErrorInfo
from crucible_batch.core.job import Phase
from crucible_batch.core.outcome import Ending, RunStatus
from crucible_batch.core.plan import InputImage, PlannedJob, RunTerms
from crucible_batch.core.retry_rule import RetryRule
from crucible_batch.errors import JournalError, RunDirectoryError
from crucible_batch.journal import Binding, Journal, PlanFile
from crucible_batch.journal.database import FORMAT
from tests.harness.job_events import saved_event
from tests.harness.run_terms import run_terms

RULE = RetryRule()


@pytest.fixture
def planned() -> Callable[..., PlannedJob]:
    def make(number: int, *, position: int | None = None, image: bool = False) -> PlannedJob:
        spec = AssetSpec(
            sha256=f"{number:064x}", byte_size=7, mime_type="image/png", filename="a.png"
        )
        return PlannedJob(
            position=number if position is None else position,
            identity=f"{number:064x}",
            name=f"job-{number}",
            workflow_id="zimage-base",
            params={
                "prompt.text": "caf\u00e9 \U0001f6a2",
                "sampler.seed": 2**64 - 1,
                "x": 0.1,
                "on": True,
                "no": None,
            },
            images={"image.image": InputImage(spec, Path("a.png"))} if image else {},
            prompt="a prompt",
            axes={"style": "noir"},
        )

    return make


@pytest.fixture
def terms() -> RunTerms:
    return run_terms("12.50", manifest_name="trial", never=frozenset({"NEVER"}))


@pytest.fixture
def fill() -> Callable[..., None]:
    def make(journal, *jobs: PlannedJob) -> None:
        with PlanFile.temporary() as plan:
            plan.fill(jobs)
            journal.adopt(plan)

    return make


def file_of(directory: Path) -> Path:
    return directory / ".crucible" / "journal.sqlite3"


def change(directory: Path, *statements: str) -> None:
    connection = sqlite3.connect(file_of(directory), isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


async def test_opening_again_replays_the_same(
    tmp_path, binding, planned, fill, held, accepted, terms
):
    ending = Ending(RunStatus.STOPPED, 5, {"*": ErrorInfo("X", "x", "do this", "r-1")})
    with Journal.open(tmp_path, binding, now=1.0) as journal:
        fill(journal, *(planned(number) for number in range(3)))
        run = journal.begin_run(terms, now=1.0)
        for number in (0, 1):
            await journal.append(planned(number).identity, held(number))
        await journal.append(planned(1).identity, accepted(1))
        await journal.append(planned(1).identity, Failed(at=3.0, error=ErrorInfo("E", "e")))
        journal.end_run(run, ending, now=9.0)
        first = (list(journal.jobs(RULE)), list(journal.events()), journal.runs())
    with Journal.open(tmp_path, binding, now=2.0) as journal:
        assert (list(journal.jobs(RULE)), list(journal.events()), journal.runs()) == first
    with Journal.read(tmp_path) as journal:
        assert (list(journal.jobs(RULE)), list(journal.events()), journal.runs()) == first
    jobs, _, runs = first
    assert [job.phase for _, job in jobs] == [Phase.SUBMITTING, Phase.READY, Phase.READY]
    assert jobs[1][1].attempt == 2
    assert jobs[0][0] == planned(0)
    assert (runs[0].terms, runs[0].ending, runs[0].finished_at) == (terms, ending, 9.0)


@pytest.mark.parametrize(
    ("other", "word"),
    [
        (Binding("another", "default", "https://gateway.example/"), "manifest"),
        (Binding("campaign", "other", "https://gateway.example/"), "run id"),
        (Binding("campaign", "default", "https://elsewhere.example/"), "gateway"),
    ],
)
def test_a_directory_of_another_run_is_refused_and_stays_its_own(tmp_path, binding, other, word):
    with Journal.open(tmp_path, binding, now=1.0):
        pass
    with pytest.raises(RunDirectoryError, match=word), Journal.open(tmp_path, other, now=1.0):
        pass
    with Journal.open(tmp_path, binding, now=1.0) as journal:
        assert journal.binding() == binding


def test_a_journal_of_the_next_release_is_refused_and_left_alone(tmp_path, binding):
    with Journal.open(tmp_path, binding, now=1.0):
        pass
    change(tmp_path, f"PRAGMA user_version = {FORMAT + 1}")
    before = file_of(tmp_path).read_bytes()
    with (
        pytest.raises(JournalError, match="newer release"),
        Journal.open(tmp_path, binding, now=1.0),
    ):
        pass
    assert file_of(tmp_path).read_bytes() == before


def test_what_is_not_a_run_directory_is_refused_with_the_reason(tmp_path):
    assert not Journal.exists(tmp_path)
    (tmp_path / "file").write_text("")
    for name, reason in (
        ("", "it has no journal"),
        ("file", "it is a file"),
        ("nowhere", "it does not exist"),
    ):
        with (
            pytest.raises(RunDirectoryError, match=f"not a run directory: {reason}"),
            Journal.read(tmp_path / name),
        ):
            pass


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        (
            "Succeeded",
            '{"at": 1, "outputs": 1}',
            "the event Succeeded is impossible for a job that is ready",
        ),
        ("Uploaded", '{"at": 1}', "the event Uploaded is impossible for a job"),
    ],
)
def test_an_event_that_can_not_have_happened_makes_its_job_unreadable_and_no_other(
    tmp_path, binding, planned, fill, caplog, kind, body, why
):
    # The path is what is remembered of a job that was logged, and pytest may use one twice.
    directory = tmp_path / kind
    with Journal.open(directory, binding, now=1.0) as journal:
        fill(journal, planned(0), planned(1))
    change(
        directory,
        (
            "INSERT INTO events (subject, type, body) "
            f"VALUES ('{planned(0).identity}', '{kind}', '{body}')"
        ),
    )
    with Journal.read(directory) as journal:
        (_, odd), (_, other) = journal.jobs(RULE)
        assert journal.job(planned(0), RULE) == odd
    assert (odd.phase, other.phase) == (Phase.UNREADABLE, Phase.READY)
    assert odd.error is not None
    assert why in odd.error.message
    (record,) = caplog.records  # said once, whoever reads it how often
    assert planned(0).name in record.getMessage()
    assert str(odd.error.hint) in record.getMessage()


async def test_reading_continues_while_a_run_is_writing(tmp_path, binding, planned, fill, held):
    with Journal.open(tmp_path, binding, now=1.0) as journal:
        fill(journal, *(planned(number) for number in range(20)))
        with Journal.read(tmp_path) as reader:
            jobs = reader.jobs(RULE)
            seen = [next(jobs)]
            for number in range(20):
                await journal.append(planned(number).identity, held(number))
            seen += jobs
            # One read is of one moment, the next of a later one.
            assert {job.phase for _, job in seen} == {Phase.READY}
            assert {job.phase for _, job in reader.jobs(RULE)} == {Phase.SUBMITTING}
        with pytest.raises(JournalError), Journal.read(tmp_path) as reader:
            reader.remember_key("nothing may be written")


def test_a_plan_is_adopted_as_a_whole_or_not_at_all(tmp_path, binding, planned, fill):
    with Journal.open(tmp_path, binding, now=1.0) as journal:
        fill(journal, planned(0), planned(1))
        change(
            tmp_path,
            (
                "CREATE TRIGGER t BEFORE INSERT ON plan WHEN new.position = 1 "
                "BEGIN SELECT RAISE(ABORT,'x'); END"
            ),
        )
        with pytest.raises(sqlite3.Error):
            fill(journal, planned(5, position=0), planned(6, position=1))
        assert [one.name for one, _ in journal.jobs(RULE)] == ["job-0", "job-1"]
        change(tmp_path, "DROP TRIGGER t")
        fill(journal, planned(5, position=0))
        assert [one.name for one, _ in journal.jobs(RULE)] == ["job-5"]
        assert journal.planned() == 1


async def test_what_a_plan_drops_keeps_its_past_as_retired_until_it_is_asked_for_again(
    tmp_path, binding, planned, fill, held
):
    with Journal.open(tmp_path, binding, now=1.0) as journal:
        fill(journal, planned(0), planned(1))
        await journal.append(planned(0).identity, held(0))
        fill(journal, planned(2, position=0))
        ((retired, job),) = journal.retired()
        assert (retired.name, job.phase) == ("job-0", Phase.SUBMITTING)
        assert journal.known(planned(0).identity) == (retired, job, True)
        assert journal.known(planned(1).identity) is None
        fill(journal, planned(0))
        assert list(journal.retired()) == []
        assert [job.phase for _, job in journal.jobs(RULE)] == [Phase.SUBMITTING]
        known = journal.known(planned(0).identity)
        assert known is not None
        assert (known[0], known[1].phase, known[2]) == (planned(0), Phase.SUBMITTING, False)


async def test_the_account_is_known_by_its_key_and_by_the_newest_job(
    tmp_path, binding, held, accepted
):
    with Journal.open(tmp_path, binding, now=1.0) as journal:
        assert journal.remembered_key() is None
        assert journal.newest_gateway_asset() is None
        assert journal.newest_gateway_job() is None
        journal.remember_key("one")
        assert journal.remembered_key() == "one"
        for number in (1, 2):
            await journal.append(f"{number:064x}", held(number))
            await journal.append(f"{number:064x}", accepted(number))
        assert journal.newest_gateway_job() == "g-2"


async def test_a_queue_that_is_half_read_keeps_no_log_from_being_folded_in(
    tmp_path, binding, planned, held, fill
):
    with Journal.open(tmp_path, binding, now=1.0) as journal:
        fill(journal, *(planned(number) for number in range(200)))
        queue = journal.jobs(RULE)
        next(queue)
        await journal.append(f"{1:064x}", held(1))
        with closing(sqlite3.connect(file_of(tmp_path))) as other:
            assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
        assert len(list(queue)) == 199


async def test_the_jobs_that_saved_an_output_at_a_path_are_known(tmp_path, binding):
    saved = saved_event(0, "a/é.png", byte_size=9, mime_type="m", height=2)
    with Journal.open(tmp_path, binding, now=1.0) as journal:
        await journal.append("s", saved)
        await journal.append("s", Relocated(at=1.0, index=0, path="a/é.1.png"))
        assert [journal.saved_at(path) for path in ("a/é.png", "a/é.1.png", "a")] == [
            ["s"],
            ["s"],
            [],
        ]
