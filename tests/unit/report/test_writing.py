"""``report.json`` is whole or not there, and is what its schema says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from crucible_batch.core.events import SubmitUnknown, Succeeded
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.outcome import Ending, RunStatus
from crucible_batch.errors import ReportError, RunDirectoryError
from crucible_batch.journal import Binding, Journal, PlanFile, lock_run_directory
from crucible_batch.report import (
    REPORT_FILE,
    Report,
    build_head,
    build_rows,
    count_jobs,
    write_report,
)
from crucible_batch.runs.reporting import report_rows, write_report_again
from crucible_batch.runs.status import read_status
from tests.harness.job_events import accepted_event, held_event, saved_event

SCHEMA = Report.model_json_schema(mode="serialization")
ERROR = ErrorInfo("NO_ANSWER", "the connection broke", hint="run it again")


@pytest.fixture
def told(history: Any) -> Any:
    """A job that succeeded, one whose fate is unknown, and one that was not begun."""
    hold = held_event("2.50", key="cb1-1", price_class="workflow:z")
    saved = saved_event(at=4.0, sha256="f" * 64, byte_size=9, width=4, height=3)
    accepted = accepted_event("2.50", "job_1", at=2.0)
    history.job(
        "naïve “quotes” \u2028 \U0001f5bc", hold, accepted, Succeeded(at=3.0, outputs=1), saved
    )
    history.job("unknown", hold, SubmitUnknown(at=2.0, error=ERROR))
    history.job("waiting")
    return history


def written(
    directory: Path, history: Any, ending: Ending | None = None, budget: str | None = "100"
) -> Any:
    stops = {} if ending is None else dict(ending.stops)
    head = build_head(
        terms=history.terms(budget),
        ending=ending,
        started_at=1.0,
        finished_at=None if ending is None else 2.0,
        ledger=history.ledger(budget),
        counts=count_jobs(history.jobs(), {} if ending is None else ending.stops),
    )
    path = write_report(
        directory,
        head,
        (row.model_dump_json().encode() for row in build_rows(history.jobs(), stops)),
    )
    return json.loads(path.read_text(encoding="utf-8"))


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("ending", [None, Ending(RunStatus.STOPPED, 5, {"*": ERROR})])
@pytest.mark.parametrize("budget", ["100", None])
def test_a_report_is_valid_by_its_own_schema(
    tmp_path: Path, told: Any, ending: Any, budget: Any
) -> None:
    report = written(tmp_path, told, ending, budget)
    jsonschema.Draft202012Validator(SCHEMA).validate(report)
    assert [job["name"] for job in report["jobs"]] == [planned.name for planned in told.plan]
    assert files(tmp_path) == [REPORT_FILE]


_COUNTS = {"lost_uploads", "price_differs_jobs"}


def test_credits_are_decimal_text_and_never_numbers(tmp_path: Path, told: Any) -> None:
    report = written(tmp_path, told)
    amounts = {name: value for name, value in report["credits"].items() if name not in _COUNTS}
    assert amounts["spent"] == "2.5"
    assert amounts["held"] == "2.5"
    assert all(isinstance(value, str) for value in amounts.values())
    assert [job["credits"] for job in report["jobs"]] == ["2.5", "0", "0"]
    assert report["jobs"][0]["attempts"][0]["credits"] == "2.5"


def test_a_failure_in_the_middle_leaves_the_old_report(tmp_path: Path, told: Any) -> None:
    written(tmp_path, told)
    before = (tmp_path / REPORT_FILE).read_bytes()
    rows = list(build_rows(told.jobs(), {}))

    def broken() -> Iterator[bytes]:
        yield rows[0].model_dump_json().encode()
        raise OSError("the disk is gone")

    head = Report.model_validate_json(before)
    with pytest.raises(OSError, match="the disk is gone"):
        write_report(tmp_path, head, broken())
    assert (tmp_path / REPORT_FILE).read_bytes() == before
    assert files(tmp_path) == [REPORT_FILE]


# -- from a journal


@pytest.fixture
async def run_dir(tmp_path: Path, told: Any) -> Path:
    with Journal.open(tmp_path, Binding("campaign", "nightly", "https://g/"), now=1.0) as journal:
        with PlanFile.temporary() as plan:
            plan.fill(told.plan)
            journal.adopt(plan)
        journal.begin_run(told.terms(), now=10.0)
        for subject, event in told.past:
            await journal.append(subject, event)
    return tmp_path


def test_a_killed_run_can_be_reported_from_its_journal(run_dir: Path, told: Any) -> None:
    head = write_report_again(run_dir)
    report = json.loads((run_dir / REPORT_FILE).read_bytes())
    jsonschema.Draft202012Validator(SCHEMA).validate(report)
    assert (report["status"], report["started_at"]) == ("running", "1970-01-01T00:00:10.000Z")
    assert report["counts"] == head.counts.model_dump()
    assert [row.status for row in report_rows(run_dir)] == ["succeeded", "unknown", "pending"]
    assert list(report_rows(run_dir)) == list(build_rows(told.jobs(), {}))


def test_a_report_spans_all_runs_and_tells_the_newest_ones_end(run_dir: Path, told: Any) -> None:
    binding = Binding("campaign", "nightly", "https://g/")
    with Journal.open(run_dir, binding, now=1.0) as journal:
        run = journal.begin_run(told.terms("7"), now=20.0)
        journal.end_run(run, Ending(RunStatus.STOPPED, 5, {"*": ERROR}), now=30.0)
    head = write_report_again(run_dir)
    assert (head.started_at, head.finished_at) == (
        "1970-01-01T00:00:10.000Z",
        "1970-01-01T00:00:30.000Z",
    )
    assert (head.exit_code, head.credits.budget) == (5, Decimal(7))
    assert [row.error and row.error.code for row in report_rows(run_dir)] == [
        None,
        "NO_ANSWER",
        "NO_ANSWER",
    ]


def test_status_tells_whether_a_run_is_in_progress(run_dir: Path) -> None:
    assert not read_status(run_dir).running
    with lock_run_directory(run_dir):
        assert read_status(run_dir).running
    assert not (run_dir / REPORT_FILE).exists()  # a look writes nothing


def test_a_directory_in_which_no_run_began_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with Journal.open(tmp_path, Binding("campaign", "nightly", "https://g/"), now=1.0):
        pass
    with pytest.raises(RunDirectoryError, match="no run has begun") as caught:
        read_status(tmp_path)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == [tmp_path / ".crucible"]


def test_a_report_that_cannot_be_written_is_an_error_with_a_hint(run_dir: Path) -> None:
    (run_dir / REPORT_FILE).mkdir()
    with pytest.raises(ReportError, match="can't be written") as caught:
        write_report_again(run_dir)
    assert (
        caught.value.exit_code == 5
    )  # credits may have been spent: it is no mistake in the command
    assert caught.value.hint
    assert [path.name for path in sorted(run_dir.iterdir())] == [".crucible", REPORT_FILE]
