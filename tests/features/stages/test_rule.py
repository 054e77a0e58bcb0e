"""Which jobs are blocked by their sources: the table of ``derived_jobs``."""

from __future__ import annotations

from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.identity import job_identity
from crucible_batch.core.job import Job, Phase, decide
from crucible_batch.core.outcome import Outcome, conclude, outcome_of
from crucible_batch.core.plan import placeholder_identity
from crucible_batch.errors import ExitCode
from crucible_batch.features.stages.rule import missing_outputs, source_failed
from tests.harness.case_table import each_case
from tests.harness.job_events import saved_event
from tests.harness.replacing import replace


def source(phase: Phase, *outputs: int, expected: int | None = None) -> Job:
    saved = {at: saved_event(at, f"{at}.png") for at in outputs}
    return replace(
        Job("a"), phase=phase, outputs=saved, expected=expected, error=ErrorInfo("BAD", "why")
    )


@each_case(
    "job, expected, picked, missing",
    [
        (source(Phase.READY), [0], False, {}),
        (source(Phase.IN_FLIGHT), [0], True, {}),
        (source(Phase.FETCHING, 0, expected=2), [0, 1], True, {}),
        (source(Phase.UNKNOWN), [0], False, {}),
        (source(Phase.SUCCEEDED, 0, expected=1), [0], False, {}),
        (source(Phase.SUCCEEDED, 0, expected=1), [0, 3], True, {3: "PICK_NOT_FOUND"}),
        (source(Phase.FAILED), [0], False, {0: "SOURCE_FAILED"}),
        (source(Phase.VANISHED), [0], False, {0: "SOURCE_FAILED"}),
        (source(Phase.FAILED), [2, 4], True, {2: "SOURCE_FAILED", 4: "SOURCE_FAILED"}),
        (
            source(Phase.UNAVAILABLE, 0, expected=3),
            [0],
            False,
            {1: "SOURCE_FAILED", 2: "SOURCE_FAILED"},
        ),
        (source(Phase.UNAVAILABLE, 0, expected=3), [0, 2], True, {2: "SOURCE_FAILED"}),
    ],
)
def test_the_outputs_from_which_no_job_can_be_made(
    job: Job, expected: list[int], picked: bool, missing: dict[int, str]
) -> None:
    found = missing_outputs("fox", job, expected, is_picked=picked)
    assert {index: error.code for index, error in found} == missing


def test_the_error_names_the_source_and_its_code() -> None:
    ((_, error),) = missing_outputs("fox", source(Phase.FAILED), [0], is_picked=False)
    assert "fox" in error.message
    assert "BAD" in error.message
    assert error == source_failed("fox", "BAD")


def test_a_placeholder_has_the_identity_of_no_request() -> None:
    request = job_identity(
        manifest="m", run_id="r", workflow_id="w", params={}, images={}, repeat=1
    )
    assert placeholder_identity("m", "r", "w") != request
    assert placeholder_identity("a", "b") != placeholder_identity("ab", "")


def test_a_blocked_job_is_never_started() -> None:
    job = replace(Job("a"), phase=Phase.BLOCKED, error=source_failed("fox", None))
    assert decide(job) is None
    assert outcome_of(job, "workflow:w", {}) == (Outcome.BLOCKED, job.error)


@each_case(
    "counts, by_sources, code",
    [
        ({Outcome.BLOCKED: 2, Outcome.SUCCEEDED: 1}, 2, ExitCode.SOME_FAILED),
        ({Outcome.BLOCKED: 2, Outcome.FAILED: 1}, 2, ExitCode.SOME_FAILED),
        ({Outcome.BLOCKED: 3, Outcome.FAILED: 1}, 2, ExitCode.OUT_OF_CREDITS),
        ({Outcome.BLOCKED: 2, Outcome.PENDING: 1}, 2, ExitCode.STOPPED),
    ],
)
def test_jobs_that_others_block_are_not_stopped_for_credits(
    counts: dict[Outcome, int], by_sources: int, code: ExitCode
) -> None:
    assert conclude(counts, {}, (), by_sources=by_sources).exit_code == code
