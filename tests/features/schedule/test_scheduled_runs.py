"""The runs of one command: what is due, at clock changes too, and what can't be caught up."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.core.outcome import Ending, RunStatus
from crucible_batch.errors import DeadlineError, ManifestError, UserError
from crucible_batch.features.schedule.scheduled_runs import due_runs, prepare_run
from crucible_batch.journal import Binding, Journal, lock_run_directory
from crucible_batch.runs.request import RunRequest
from crucible_batch.scheduled_time import parse_time
from tests.harness.run_terms import run_terms

BERLIN = "timezone: Europe/Berlin\n"
NIGHTLY = BERLIN + 'schedule: {cron: "30 2 * * *"}\nrun_id: "{{ date }}"\n'
HOURLY = BERLIN + 'schedule: {cron: "30 * * * *"}\nrun_id: "{{ scheduled_at }}"\n'
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _request(text: str, at: str, **options: Any) -> RunRequest:
    Path("m.yaml").write_text(
        f"version: 1\nname: n\nworkflow: w\njobs: [{{name: a, prompt: b}}]\n{text}"
    )
    return RunRequest(Path("m.yaml"), scheduled_at=parse_time(at), **options)


def _was_run(run_id: str, exit_code: int | None = 0, began: float = LONG_AGO) -> Path:
    """Leave the run directory of an earlier run, with an exit code, or None as if it was killed."""
    directory = Path("outputs/n", run_id)
    directory.mkdir(parents=True, exist_ok=True)
    terms = run_terms(manifest_name="n", run_id=run_id)
    with (
        lock_run_directory(directory),
        Journal.open(directory, Binding("n", run_id, "http://g"), now=began) as journal,
    ):
        number = journal.begin_run(terms, now=began)
        if exit_code is not None:
            journal.end_run(number, Ending(RunStatus.STOPPED, exit_code), now=began + 1)
    return directory


def _due(text: str, at: str, catch_up: int | None, **options: Any) -> list[str]:
    return [due.run_id for due in due_runs(prepare_run(_request(text, at, **options)), catch_up)]


AT = "2026-11-26T01:30:00Z"


def test_runs_are_caught_up_oldest_first_and_at_most_so_many() -> None:
    _was_run("2026-11-01")
    assert _due(NIGHTLY, AT, 3) == ["2026-11-23", "2026-11-24", "2026-11-25", "2026-11-26"]
    assert _due(NIGHTLY, AT, 1) == ["2026-11-25", "2026-11-26"]
    assert _due(NIGHTLY, AT, 0) == _due(NIGHTLY, AT, None) == ["2026-11-26"]
    assert _due(NIGHTLY.replace("}\n", ", catch_up: 2}\n", 1), AT, None) == [
        "2026-11-24",
        "2026-11-25",
        "2026-11-26",
    ]
    assert _due(NIGHTLY.replace("}\n", ", catch_up: 2}\n", 1), AT, 0) == ["2026-11-26"]


def test_the_state_of_each_run_is_read_from_its_directory() -> None:
    for run_id, code in (
        ("23", 0),
        ("22", 1),
        ("21", 4),
        ("20", 5),
        ("19", 130),
        ("18", 143),
        ("17", None),
    ):
        _was_run(f"2026-11-{run_id}", code)
    Path("outputs/n/2026-11-24/.crucible").mkdir(parents=True)  # was killed before it had a journal
    with lock_run_directory(_was_run("2026-11-25", None)):
        found = _due(NIGHTLY, AT, 10)
    missed = [
        "2026-11-16",
        "2026-11-17",
        "2026-11-18",
        "2026-11-19",
        "2026-11-20",
        "2026-11-21",
        "2026-11-24",
    ]
    assert found == [*missed, "2026-11-26"]


def test_a_resumed_run_counts_by_its_newest_run() -> None:
    for run_id, codes in (("24", (5, 0)), ("25", (0, None))):
        for code in codes:
            _was_run(f"2026-11-{run_id}", code)
    assert _due(NIGHTLY, AT, 2) == ["2026-11-25", "2026-11-26"]


def test_a_new_manifest_catches_up_nothing_and_a_younger_one_no_time_before_it() -> None:
    assert _due(NIGHTLY, AT, 5) == ["2026-11-26"]
    Path("outputs/n/.crucible").mkdir(parents=True)  # the lock's
    Path("outputs/n/notes").mkdir()
    Path("outputs/n/notes.txt").write_text("x")
    assert _due(NIGHTLY, AT, 5) == ["2026-11-26"]
    _was_run("by-hand", began=parse_time("2026-11-24T12:00:00Z").timestamp())
    _was_run("later", began=parse_time("2026-11-25T12:00:00Z").timestamp())
    assert _due(NIGHTLY, AT, 5) == ["2026-11-25", "2026-11-26"]


def test_a_journal_that_can_not_be_read_is_run_so_that_it_is_reported() -> None:
    _was_run("2026-11-01")
    (_was_run("2026-11-25") / ".crucible/journal.sqlite3").write_bytes(
        b"not a database at all" * 100
    )
    assert _due(NIGHTLY, AT, 1) == ["2026-11-25", "2026-11-26"]


@pytest.mark.parametrize(
    ("text", "at", "runs"),
    [
        # The local time 02:30 is skipped on March 29, and the run of that night is at 03:00.
        (NIGHTLY, "2026-03-30T00:30:00Z", ["2026-03-28", "2026-03-29", "2026-03-30"]),
        (NIGHTLY, "2026-03-29T01:00:00Z", ["2026-03-27", "2026-03-28", "2026-03-29"]),
        # It occurs twice on October 25, and the run of that night is at the first.
        (NIGHTLY, "2026-10-26T01:30:00Z", ["2026-10-24", "2026-10-25", "2026-10-26"]),
        (NIGHTLY, "2026-10-25T00:30:00Z", ["2026-10-23", "2026-10-24", "2026-10-25"]),
        (
            HOURLY,
            "2026-03-29T01:30:00Z",
            ["2026-03-29T00:30:00+01:00", "2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"],
        ),
    ],
)
def test_clock_changes_cause_no_missed_and_no_second_run(
    text: str, at: str, runs: list[str]
) -> None:
    _was_run("first")
    assert _due(text, at, 2) == runs
    for run_id in runs[:-1]:
        _was_run(run_id)
    assert _due(text, at, 2) == runs[-1:]


@pytest.mark.parametrize(
    ("at", "before"),
    [
        ("2026-03-30T00:30:00Z", "2026-03-29T01:00:00Z"),  # 03:00, right after the gap
        ("2026-10-26T01:30:00Z", "2026-10-25T00:30:00Z"),  # 02:30, the first of the two
        ("2026-10-25T00:30:00Z", "2026-10-24T00:30:00Z"),
    ],
)
def test_a_missed_run_has_the_time_of_the_schedules_zone(at: str, before: str) -> None:
    _was_run("first")
    missed, current = due_runs(prepare_run(_request(NIGHTLY, at)), 1)
    assert (missed.scheduled_at, current.scheduled_at) == (parse_time(before), parse_time(at))


def test_the_repeated_hour_is_caught_up_if_the_schedule_follows_real_time() -> None:
    _was_run("first", began=parse_time("2026-10-24T23:00:00Z").timestamp())
    text = BERLIN + 'schedule: {cron: "*/30 * * * *"}\nrun_id: "{{ scheduled_at }}"\n'
    times = ["2026-10-25T02:00:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00"]
    assert _due(text, "2026-10-25T01:30:00Z", 3) == [*times, "2026-10-25T02:30:00+01:00"]


def test_times_with_one_run_id_are_one_run() -> None:
    _was_run("first")
    text = BERLIN + 'schedule: {cron: "30 * * * *"}\nrun_id: "{{ date }}"\n'
    assert _due(text, "2026-11-26T01:30:00Z", 6) == ["2026-11-25", "2026-11-26"]
    (yesterday, _) = due_runs(prepare_run(_request(text, "2026-11-26T01:30:00Z")), 6)
    assert yesterday.scheduled_at == parse_time("2026-11-25T23:30:00+01:00")


FIXED = 'schedule: {cron: "30 2 * * *"}\n'


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ('run_id: "{{ date }}"\n', {}, "--catch-up: the manifest has no schedule"),
        (
            FIXED,
            {},
            (
                "--catch-up: each scheduled time needs its own run id, "
                "and 'default' is the same for all"
            ),
        ),
        (FIXED + "run_id: spring\n", {}, "and 'spring' is the same for all"),
        (NIGHTLY, {"run_id": "mine"}, "and 'mine' is the same for all"),
        (NIGHTLY, {"out_dir": Path("x")}, "--catch-up: each run needs a directory of its own"),
    ],
)
def test_what_can_not_be_caught_up_is_refused(
    text: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        _due(text, AT, 1, **options)
    assert (caught.value.exit_code, bool(caught.value.hint)) == (2, True)
    assert len(_due(text, AT, 0, **options)) == 1


def test_a_manifest_that_catches_up_needs_a_run_id_for_each_time() -> None:
    with pytest.raises(
        ManifestError, match="catch_up needs a run id for each scheduled time"
    ) as caught:
        _due('schedule: {cron: "30 2 * * *", catch_up: 2}\n', AT, None)
    assert (caught.value.problems[0].place.line, caught.value.problems[0].field) == (
        5,
        "schedule.catch_up",
    )


@pytest.mark.parametrize("options", [{"run_id": "mine"}, {"out_dir": Path("x")}])
def test_a_run_with_an_id_or_a_directory_of_its_own_catches_up_only_if_asked(
    options: dict[str, Any],
) -> None:
    _was_run("2026-11-01")
    text = NIGHTLY.replace("}\n", ", catch_up: 2}\n", 1)
    assert len(_due(text, AT, None, **options)) == 1
    assert len(_due(text, AT, None, run_id="x-{{ date }}")) == 3


def test_each_run_has_its_own_time_and_id_and_what_is_left_of_the_deadline() -> None:
    _was_run("2026-11-01")
    prepared = prepare_run(_request(NIGHTLY + "deadline: 1h\n", AT))
    first, last = (prepared.at(due) for due in due_runs(prepared, 1))
    assert (first[0].run_id, last[0].run_id) == ("2026-11-25", "2026-11-26")
    assert first[1].variables["date"] == "2026-11-25"
    assert first[0].deadline_s is not None
    assert last[0].deadline_s is not None
    assert 0 < last[0].deadline_s <= first[0].deadline_s < 3600
    prepared.deadline.set(0)
    with pytest.raises(DeadlineError):
        prepared.at(prepared.current)
