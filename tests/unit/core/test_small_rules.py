"""The small rules: when to look again, how a run ends, what became of a job."""

from __future__ import annotations

import itertools

from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.outcome import (
    CHECK_FAILED,
    EVERYTHING,
    Outcome,
    RunStatus,
    conclude,
    outcome_of,
)
from crucible_batch.errors import ExitCode
from tests.harness.case_table import each_case

BUDGET = ErrorInfo("BUDGET_EXHAUSTED", "no more")
STOPPED = ErrorInfo("INTERRUPTED", "stopped")
NOT_GOOD = ErrorInfo(CHECK_FAILED, "blank")

PRECEDENCE = [
    ExitCode.SIGTERM,
    ExitCode.SIGINT,
    ExitCode.KEY_REFUSED,
    ExitCode.STOPPED,
    ExitCode.OUT_OF_CREDITS,
    ExitCode.SOME_FAILED,
]


@each_case("one, other", list(itertools.combinations(PRECEDENCE, 2)))
def test_of_two_reasons_the_first_in_the_order_is_the_exit_code(
    one: ExitCode, other: ExitCode
) -> None:
    assert conclude({Outcome.SUCCEEDED: 1}, {}, [other, one]).exit_code == one


@each_case(
    "counts, code, status",
    [
        ({}, 0, RunStatus.SUCCEEDED),
        ({Outcome.SUCCEEDED: 3}, 0, RunStatus.SUCCEEDED),
        ({Outcome.SUCCEEDED: 3, Outcome.FAILED: 1}, 1, RunStatus.PARTIAL),
        ({Outcome.FAILED: 1}, 1, RunStatus.FAILED),
        ({Outcome.SUCCEEDED: 3, Outcome.BLOCKED: 1}, 4, RunStatus.BLOCKED),
        ({Outcome.FAILED: 3, Outcome.BLOCKED: 1}, 4, RunStatus.BLOCKED),
        ({Outcome.UNKNOWN: 1, Outcome.BLOCKED: 1}, 5, RunStatus.STOPPED),
        ({Outcome.PENDING: 1}, 5, RunStatus.STOPPED),
    ],
)
def test_what_became_of_the_jobs_decides_how_the_run_ended(
    counts: dict[Outcome, int], code: int, status: RunStatus
) -> None:
    ending = conclude(counts, {}, [])
    assert (ending.exit_code, ending.status) == (code, status)


def test_an_interrupted_run_is_interrupted_whatever_it_left() -> None:
    assert conclude({Outcome.PENDING: 4}, {}, [ExitCode.SIGINT]).status is RunStatus.INTERRUPTED


@each_case(
    "phase, stops, outcome",
    [
        (Phase.SUCCEEDED, {EVERYTHING: BUDGET}, Outcome.SUCCEEDED),
        (Phase.FAILED, {}, Outcome.FAILED),
        (Phase.UNAVAILABLE, {}, Outcome.FAILED),
        (Phase.VANISHED, {}, Outcome.FAILED),
        (Phase.UNKNOWN, {}, Outcome.UNKNOWN),
        (Phase.SUBMITTING, {}, Outcome.UNKNOWN),
        (Phase.IN_FLIGHT, {EVERYTHING: BUDGET}, Outcome.PENDING),
        (Phase.FETCHING, {}, Outcome.PENDING),
        (Phase.READY, {}, Outcome.PENDING),
        (Phase.READY, {"workflow:w": BUDGET}, Outcome.BLOCKED),
        (Phase.READY, {"workflow:other": BUDGET}, Outcome.PENDING),
        (Phase.READY, {EVERYTHING: STOPPED}, Outcome.PENDING),
        (Phase.READY, {EVERYTHING: STOPPED, "workflow:w": BUDGET}, Outcome.BLOCKED),
        (Phase.SUCCEEDED, {EVERYTHING: STOPPED, "workflow:w": BUDGET}, Outcome.SUCCEEDED),
        (Phase.SUCCEEDED, {"a" * 64: NOT_GOOD}, Outcome.FAILED),
        (Phase.SUCCEEDED, {"b" * 64: NOT_GOOD}, Outcome.SUCCEEDED),
    ],
)
def test_what_became_of_a_job(phase: Phase, stops: dict[str, ErrorInfo], outcome: Outcome) -> None:
    assert outcome_of(Job("a" * 64, phase=phase), "workflow:w", stops)[0] is outcome
