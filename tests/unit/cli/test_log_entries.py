"""Each progress message has a level and a line, as text and as JSON, that no text can forge."""

from __future__ import annotations

import json
import logging
from decimal import Decimal

from crucible_batch.cli.logs.entries import LogContext, LogEntry, entry_of, format_entry, level_of
from crucible_batch.cli.logs.run_log import RunLog
from crucible_batch.cli.run_options import LogFormat
from crucible_batch.core.events import (
    BecameReady,
    Failed,
    HoldReleased,
    JobEvent,
    NotCreated,
    Succeeded,
    Uploaded,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Phase
from crucible_batch.core.outcome import Ending, Outcome, RunStatus
from crucible_batch.core.progress import (
    AssetAdvanced,
    Balance,
    GatewayBack,
    GatewayUnreachable,
    JobAdvanced,
    Message,
    Retrying,
    RunBegan,
    RunEnded,
    Stopping,
    TakenUp,
    Throttled,
)
from tests.harness.case_table import each_case
from tests.harness.job_events import accepted_event, held_event, saved_event
from tests.harness.replacing import replace

BALANCE = Balance(Decimal(9), Decimal(1), Decimal(2))
ERROR = ErrorInfo("BOOM", "it failed", request_id="req-1")
HELD = held_event(2, attempt=2, price_class="w")
ACCEPTED = accepted_event(2, "j1")
SAVED = saved_event(0, "fox/0.png", byte_size=7)
CONTEXT = LogContext("n.yaml", "nightly", "2026-11-26")


def job(event: JobEvent, phase: Phase = Phase.IN_FLIGHT) -> JobAdvanced:
    return JobAdvanced(0.0, "fox", "id", event, Phase.READY, phase, BALANCE)


def image(event: object) -> AssetAdvanced:
    # Each case is an event.
    return AssetAdvanced(0.0, "ff", "fox.png", 1, event, BALANCE)  # type: ignore[arg-type]


CASES: list[tuple[Message, str, str, str]] = [
    (
        RunBegan(0.0, 3, {Outcome.SUCCEEDED: 1, Outcome.PENDING: 2}, BALANCE, "nightly", "a"),
        "INFO", "run_began",
        "run began: 1 of 3 jobs succeeded, 2 pending; 1 credits spent, 2 held, budget 9",
    ),
    (
        RunBegan(0.0, 1, {Outcome.PENDING: 1}, replace(BALANCE, allowance_of="studio, today")),
        "INFO", "run_began",
        (
            "run began: 0 of 1 jobs succeeded, 1 pending; 1 credits spent, 2 held, "
            "allowance 9 (studio, today)"
        ),
    ),
    (
        TakenUp(0.0, "fox", "id", Phase.IN_FLIGHT, 0.0),
        "INFO", "taken_up", "job fox: resumed (in_flight)",
    ),
    (job(HELD), "DEBUG", "job_held", "job fox: held (attempt 2, credits 2)"),
    (job(ACCEPTED), "INFO", "job_accepted", "job fox: accepted (job id j1, credits 2)"),
    (job(Succeeded(at=0.0, outputs=1)), "INFO", "job_succeeded", "job fox: succeeded (outputs 1)"),
    (job(SAVED), "INFO", "job_saved", "job fox: saved (fox/0.png, 7 bytes)"),
    (
        job(HoldReleased(at=0.0, error=ERROR)),
        "WARNING", "job_hold_released", "job fox: hold released: BOOM: it failed",
    ),
    (
        job(Failed(at=0.0, error=ERROR), Phase.READY),
        "WARNING", "job_failed", "job fox: failed: BOOM: it failed",
    ),
    (
        job(Failed(at=0.0, error=ERROR), Phase.FAILED),
        "ERROR", "job_failed", "job fox: failed: BOOM: it failed",
    ),
    (image(Uploaded(at=0.0)), "DEBUG", "image_uploaded", "image fox.png: uploaded"),
    (image(BecameReady(at=0.0)), "INFO", "image_became_ready", "image fox.png: became ready"),
    (
        image(NotCreated(at=0.0, error=ERROR)),
        "WARNING", "image_not_created", "image fox.png: not created: BOOM: it",
    ),
    (
        Retrying(0.0, "submit", 1, 0.5, "BUSY", "h:1"),
        "WARNING", "retry", "retry 1 of submit at h:1 again in 0.5 s: BU",
    ),
    (
        GatewayUnreachable(0.0, 60.0, 600.0, "refused"),
        "WARNING", "gateway_unreachable",
        (
            "the gateway has been unusable for 1 min; waiting up to 10 min; "
            "nothing new is bought: refused"
        ),
    ),
    (GatewayBack(0.0, 75.0), "INFO", "gateway_back", "the gateway answers again after"),
    (Throttled(0.0, 1, 2, "BUSY"), "WARNING", "throttled", "at most 1 job at a time: BUSY"),
    (Throttled(0.0, 2, 2, None), "DEBUG", "throttled", "at most 2 jobs at a time"),
    (
        Stopping(0.0, "INTERRUPTED", "why", 30.0),
        "WARNING", "stopping", "stopping: INTERRUPTED: why",
    ),
    (
        RunEnded(0.0, Ending(RunStatus.BLOCKED, 4, {"*": ERROR}), {Outcome.BLOCKED: 3}, BALANCE),
        "INFO", "run_ended",
        (
            "run ended (blocked, exit code 4): 0 of 3 jobs succeeded, 3 blocked; "
            "1 credits spent, 2 held, budget 9; BOOM"
        ),
    ),
]  # fmt: skip


@each_case("message, level, event, words", CASES)
def test_a_message_has_its_level_event_and_words(
    message: Message, level: str, event: str, words: str
) -> None:
    entry = entry_of(message)
    assert (logging.getLevelName(level_of(message)), entry.event) == (level, event)
    assert entry.message.startswith(words)
    assert json.loads(format_entry(entry, CONTEXT, LogFormat.JSON))["level"] == level


def test_a_json_line_has_what_is_known_and_the_data_of_the_json_output() -> None:
    line = json.loads(
        format_entry(
            entry_of(job(Failed(at=0.0, error=ERROR), Phase.FAILED), 2), CONTEXT, LogFormat.JSON
        )
    )
    del line["pid"]
    data = line.pop("data")
    assert line == {
        "time": "1970-01-01T00:00:00.000Z",
        "level": "ERROR",
        "event": "job_failed",
        "message": "job fox: failed: BOOM: it failed",
        "source": "n.yaml",
        "manifest": "nightly",
        "run_id": "2026-11-26",
        "job": "fox",
        "attempt": 2,
        "request_id": "req-1",
        "code": "BOOM",
    }
    assert data["error"]["request_id"] == "req-1"


def test_a_text_line_names_the_manifest_as_soon_as_it_is_known() -> None:
    entry = LogEntry(0.0, logging.WARNING, "note", "odd")
    early, late = (
        format_entry(entry, context, LogFormat.TEXT) for context in (LogContext("n.yaml"), CONTEXT)
    )
    assert early.startswith("1970-01-01T00:00:00.000Z WARNING n.yaml[")
    assert late.startswith("1970-01-01T00:00:00.000Z WARNING nightly/2026-11-26[")
    assert late.endswith("] odd")


@each_case("log_format", LogFormat)
@each_case(
    "odd",
    ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1b[2J", "\x85", "\u2028", "\u202e", "\x00", "\ud800"],
)
def test_no_text_makes_a_second_line_or_moves_the_cursor(odd: str, log_format: LogFormat) -> None:
    forged = f"x{odd}2026-11-26T22:00:00.000Z INFO    all is well"
    line = format_entry(LogEntry(0.0, logging.INFO, "note", forged), LogContext(forged), log_format)
    assert len(line.splitlines()) == 1
    assert odd not in line
    line.encode()


def test_the_attempt_of_a_job_is_remembered_until_its_end() -> None:
    lines: list[str] = []
    log = RunLog(lines.append, LogContext("n.yaml"), log_format=LogFormat.JSON, verbose=True)
    for message in (
        job(HELD),
        job(ACCEPTED),
        job(Failed(at=0.0, error=ERROR), Phase.FAILED),
        job(ACCEPTED),
    ):
        log.notify(message)
    assert [json.loads(line).get("attempt") for line in lines] == [2, 2, 2, None]


def test_messages_below_the_level_are_left_out() -> None:
    lines: list[str] = []
    log = RunLog(lines.append, LogContext("n.yaml"), log_format=LogFormat.TEXT)
    for message, *_ in CASES:
        log.notify(message)
    assert len(lines) == sum(level != "DEBUG" for _, level, *_ in CASES)


def test_with_only_failures_a_log_has_nothing_but_why_the_command_failed() -> None:
    lines: list[str] = []
    log = RunLog(lines.append, LogContext("n.yaml"), log_format=LogFormat.TEXT, only_failures=True)
    log.notify(job(Failed(at=0.0, error=ERROR), Phase.FAILED))
    log.result("all succeeded", 0, None, {})
    assert lines == []
    log.result("one failed", 1, "JOBS_NOT_DONE", {})
    assert [line.partition("] ")[2] for line in lines] == ["one failed"]
