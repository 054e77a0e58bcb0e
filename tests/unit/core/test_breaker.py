"""When one answer ends a run: each line of the breaker's table."""

from __future__ import annotations

from crucible_batch.core.circuit_breaker import ConsecutiveCounter, FailureScope, failure_scope
from crucible_batch.core.retry_rule import HOPELESS_CODES
from tests.harness.case_table import each_case


@each_case(
    "status, code, concerns",
    [
        (403, "FORBIDDEN", FailureScope.EVERYONE),
        (403, "QUOTA_GONE", FailureScope.EVERYONE),
        (405, "METHOD_NOT_ALLOWED", FailureScope.EVERYONE),
        (410, "API_RETIRED", FailureScope.EVERYONE),
        (426, "CLIENT_TOO_OLD", FailureScope.EVERYONE),
        (400, "ACCOUNT_SUSPENDED", FailureScope.EVERYONE),
        (422, "forbidden", FailureScope.EVERYONE),
        (404, "WORKFLOW_NOT_FOUND", FailureScope.WORKFLOW),
        (404, "NOT_FOUND", FailureScope.WORKFLOW),
        (403, "WORKFLOW_DISABLED", FailureScope.WORKFLOW),
        (400, "INVALID_PARAMS", FailureScope.JOB),
        (400, "BODY_TOO_LARGE", FailureScope.JOB),
        (400, "WORKFLOW_PARAMS_INVALID", FailureScope.JOB),
        (409, "KEY_REUSED", FailureScope.JOB),
        (413, "TOO_LARGE", FailureScope.JOB),
        (415, "ODD_TYPE", FailureScope.JOB),
        (422, "NO_SUCH_SAMPLER", FailureScope.JOB),
        (404, "ASSET_NOT_FOUND", FailureScope.JOB),
        (403, "moderation_refused", FailureScope.JOB),
        (403, "NSFW_CONTENT", FailureScope.JOB),
        (None, "BAD_REQUEST", FailureScope.JOB),
    ],
)
def test_a_refusal_concerns_its_job_its_workflow_or_everyone(
    status: int | None, code: str, concerns: FailureScope
) -> None:
    assert failure_scope(status, code, HOPELESS_CODES) is concerns


def test_a_code_that_the_manifest_never_tries_again_is_the_jobs_own() -> None:
    assert failure_scope(403, "FORBIDDEN", frozenset({"FORBIDDEN"})) is FailureScope.JOB


def test_a_row_is_full_with_so_many_of_a_kind_and_stays_so() -> None:
    row = ConsecutiveCounter(3)
    assert [row.count_reaches_limit((403, "A")) for _ in range(4)] == [False, False, True, True]


def test_another_kind_or_a_success_begins_the_row_again() -> None:
    row = ConsecutiveCounter(2)
    assert not row.count_reaches_limit("a")
    assert not row.count_reaches_limit("b")
    row.reset()
    assert not row.count_reaches_limit("b")
    assert row.count_reaches_limit("b")
