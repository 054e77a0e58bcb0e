"""When one answer ends a run: each line of the breaker's table."""

from __future__ import annotations

import pytest

from crucible_batch.domain.circuit_breaker import Row, Whose, whose
from crucible_batch.domain.retry_rule import HOPELESS_CODES


@pytest.mark.parametrize(
    ("status", "code", "concerns"),
    [
        (403, "FORBIDDEN", Whose.EVERYONE),
        (403, "QUOTA_GONE", Whose.EVERYONE),
        (405, "METHOD_NOT_ALLOWED", Whose.EVERYONE),
        (410, "API_RETIRED", Whose.EVERYONE),
        (426, "CLIENT_TOO_OLD", Whose.EVERYONE),
        (400, "ACCOUNT_SUSPENDED", Whose.EVERYONE),
        (422, "forbidden", Whose.EVERYONE),
        (404, "WORKFLOW_NOT_FOUND", Whose.WORKFLOW),
        (404, "NOT_FOUND", Whose.WORKFLOW),
        (403, "WORKFLOW_DISABLED", Whose.WORKFLOW),
        (400, "INVALID_PARAMS", Whose.JOB),
        (400, "BODY_TOO_LARGE", Whose.JOB),
        (400, "WORKFLOW_PARAMS_INVALID", Whose.JOB),
        (409, "KEY_REUSED", Whose.JOB),
        (413, "TOO_LARGE", Whose.JOB),
        (415, "ODD_TYPE", Whose.JOB),
        (422, "NO_SUCH_SAMPLER", Whose.JOB),
        (404, "ASSET_NOT_FOUND", Whose.JOB),
        (403, "moderation_refused", Whose.JOB),
        (403, "NSFW_CONTENT", Whose.JOB),
        (None, "BAD_REQUEST", Whose.JOB),
    ],
)
def test_a_refusal_concerns_its_job_its_workflow_or_everyone(status: int | None, code: str, concerns: Whose) -> None:
    assert whose(status, code, HOPELESS_CODES) is concerns


def test_a_code_that_the_manifest_never_tries_again_is_the_jobs_own() -> None:
    assert whose(403, "FORBIDDEN", frozenset({"FORBIDDEN"})) is Whose.JOB


def test_a_row_is_full_with_so_many_of_a_kind_and_stays_so() -> None:
    row = Row(3)
    assert [row.is_full_with((403, "A")) for _ in range(4)] == [False, False, True, True]


def test_another_kind_or_a_success_begins_the_row_anew() -> None:
    row = Row(2)
    assert not row.is_full_with("a")
    assert not row.is_full_with("b")
    row.end()
    assert not row.is_full_with("b")
    assert row.is_full_with("b")
