"""What to do about failed jobs, by their error codes."""

from __future__ import annotations

from crucible_batch.core.retry_rule import HOPELESS_CODES, PAID_CODES, Remedy, remedy_for
from tests.harness.case_table import each_case


@each_case(
    "codes, remedy",
    [
        ([], None),
        (["GPU_LOST"], Remedy.RETRY),
        (["INVALID_PARAMS", "Nsfw_Content"], Remedy.CHANGE),
        (["INVALID_PARAMS", "GPU_LOST"], Remedy.RETRY),
        (["OUTPUT_UNAVAILABLE"], Remedy.CONTINUE),
        (["CHECK_FAILED"], Remedy.CONTINUE),
        (["OUTPUT_CHANGED", "INVALID_PARAMS"], Remedy.CONTINUE),
        (["INVALID_PARAMS", "OUTPUT_EXISTS"], Remedy.CONTINUE),
        (["OUTPUT_EXISTS", "GPU_LOST"], Remedy.RETRY),
        (["IDEMPOTENCY_KEY_REUSED"], Remedy.BUY_AGAIN),
        (["INVALID_PARAMS", "IDEMPOTENCY_KEY_REUSED", "OUTPUT_EXISTS"], Remedy.BUY_AGAIN),
        (["IDEMPOTENCY_KEY_REUSED", "GPU_LOST"], Remedy.RETRY),
        (["FORBIDDEN"], Remedy.GET_ACCESS),
        (["HTTP_403", "Account_Suspended"], Remedy.GET_ACCESS),
        (
            ["FORBIDDEN", "OUTPUT_EXISTS", "INVALID_PARAMS", "IDEMPOTENCY_KEY_REUSED"],
            Remedy.GET_ACCESS,
        ),
        (["FORBIDDEN", "GPU_LOST"], Remedy.RETRY),
    ],
)
def test_the_remedy_follows_from_the_codes(codes: list[str], remedy: Remedy | None) -> None:
    assert remedy_for(codes, HOPELESS_CODES) is remedy


def test_a_code_that_the_manifest_excludes_is_not_retried() -> None:
    assert remedy_for(["GPU_LOST"], {"GPU_LOST"}) is Remedy.CHANGE


def test_codes_are_read_only_until_one_may_be_retried() -> None:
    codes = iter(["GPU_LOST", "INVALID_PARAMS"])
    assert remedy_for(codes, HOPELESS_CODES) is Remedy.RETRY
    assert list(codes) == ["INVALID_PARAMS"]


def test_codes_of_paid_jobs_are_no_codes_of_hopeless_ones() -> None:
    assert not PAID_CODES & HOPELESS_CODES
