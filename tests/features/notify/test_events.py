"""Which event a run's end is, and what a message about it contains."""

from __future__ import annotations

import json
import uuid
from typing import get_args

import jsonschema

from crucible_batch.error_codes import BUG_EXIT_CODE
from crucible_batch.errors import ExitCode
from crucible_batch.features.notify.manifest_keys import Notification
from crucible_batch.features.notify.messages import (
    MESSAGE_TYPES,
    RunMessage,
    attempt_id,
    event_of,
    message_schema,
    text_of,
    timestamp_of,
    title_of,
)
from crucible_batch.option_values import RunEvent
from tests.features.notify.receiving import ATTEMPT, message
from tests.harness.case_table import each_case

ENDS = [
    (0, 7, "success"),
    (0, 0, "success"),
    (1, 6, "partial"),
    (1, 0, "failure"),
    (2, 0, "failure"),
    (2, 6, "failure"),
    (3, 6, "failure"),
    (4, 6, "blocked"),
    (4, 0, "blocked"),
    (5, 6, "failure"),
    (6, 0, "failure"),
    (7, 6, "failure"),
    (BUG_EXIT_CODE, 6, "failure"),
    (130, 6, "failure"),
    (143, 6, "failure"),
]


@each_case("code, succeeded, event", ENDS)
def test_the_event_of_an_end_is_that_of_its_exit_code(
    code: int, succeeded: int, event: str
) -> None:
    assert event_of(code, succeeded) == event


def test_the_table_has_every_exit_code() -> None:
    assert {code for code, _, _ in ENDS} == {*map(int, ExitCode), BUG_EXIT_CODE}


def test_the_manifest_the_events_and_the_messages_have_the_same_names() -> None:
    (listed,) = get_args(Notification.model_fields["on"].annotation)
    assert set(get_args(listed)) == set(RunEvent) == set(MESSAGE_TYPES)
    assert set(get_args(RunMessage.model_fields["type"].annotation)) == set(MESSAGE_TYPES.values())
    assert {message(kind).event for kind in MESSAGE_TYPES.values()} == set(RunEvent)


def test_a_message_is_valid_by_its_schema() -> None:
    schema = message_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for each in (message(), message("run.failed", counts=None, credits=None, run_id=None)):
        jsonschema.validate(json.loads(each.to_json()), schema)


def test_the_attempt_is_a_uuid_of_the_directory_and_the_time() -> None:
    assert uuid.UUID(ATTEMPT).version == 5
    assert attempt_id("/runs/spring", 1790000000.25) == ATTEMPT
    assert (
        len(
            {
                ATTEMPT,
                attempt_id("/runs/spring", 1790000000.5),
                attempt_id("/runs/autumn", 1790000000.25),
            }
        )
        == 3
    )


def test_each_message_has_its_own_webhook_id_and_keeps_it() -> None:
    assert message().webhook_id == message().webhook_id
    other = message(attempt=attempt_id("/runs/spring", 2.0))
    assert len({message().webhook_id, message("run.failed").webhook_id, other.webhook_id}) == 3


def test_the_text_has_the_facts_one_a_line() -> None:
    assert (
        title_of(message())
        == "crucible-batch: spring · night-1 finished, some jobs failed (exit 1)"
    )
    assert text_of(message()).splitlines() == [
        "jobs     7 in total, 6 succeeded, 1 failed",
        "credits  4 spent in this run, 12.5 in total, budget 20",
        "errors   JOB_FAILED",
        "report   /runs/spring/report.json",
        "next     crucible-batch run spring.yaml --retry-failed",
        "time     2026-11-26T03:15:00.000Z",
    ]


def test_a_test_is_marked_in_every_form() -> None:
    tried = message("run.succeeded", exit_code=0, test=True)
    assert title_of(tried) == "[TEST] crucible-batch: spring · night-1 succeeded"
    assert "sent by `crucible-batch doctor`" in text_of(tried)
    assert json.loads(tried.to_json())["data"]["test"] is True


def test_a_message_before_the_run_has_only_what_is_known() -> None:
    early = message(
        "run.failed",
        exit_code=3,
        run_id=None,
        counts=None,
        credits=None,
        report=None,
        run_dir=None,
        error_codes=["NO_API_KEY"],
        next_command=None,
    )
    assert title_of(early) == "crucible-batch: spring failed (exit 3)"
    assert text_of(early) == "errors   NO_API_KEY\ntime     2026-11-26T03:15:00.000Z"


def test_times_are_in_utc() -> None:
    assert timestamp_of(0.25) == "1970-01-01T00:00:00.250Z"
