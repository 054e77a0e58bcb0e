"""The account of a shard: that in which its plan was divided, by the key or by what the key can
read.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from crucible_batch.core.saved_plan import PlanAccount
from crucible_batch.errors import GatewayError, RunDirectoryError
from crucible_batch.gateway import HttpGateway
from crucible_batch.runs.account import _fingerprint as fingerprint_of
from crucible_batch.runs.account import refuse_account_of_shard
from tests.harness.case_table import each_case
from tests.harness.skipped_time import TimeSkippingLoop

OURS, OTHER = "key-of-ours", "another-key"


class Readable:
    """A gateway whose key can read these jobs and assets."""

    def __init__(self, *ids: str) -> None:
        self.ids = ids

    async def job(self, job_id: str, **_before_retry: object) -> object:
        return self._found(job_id)

    async def asset(self, asset_id: str) -> object:
        return self._found(asset_id)

    def _found(self, what: str) -> object:
        if what not in self.ids:
            raise GatewayError("not found", status=404, code="NOT_FOUND")
        return what


def refused(account: PlanAccount, key: str, *readable: str, **options: Any) -> str | None:
    gateway = cast("HttpGateway", Readable(*readable))
    try:
        with asyncio.Runner(loop_factory=TimeSkippingLoop) as runner:  # a 404 is waited for
            runner.run(refuse_account_of_shard(account, gateway, key, **options))
    except RunDirectoryError as error:
        return error.message
    return None


@each_case(
    "job, asset, key, readable, words",
    [
        (None, None, OURS, (), None),
        ("job", "image", OURS, (), None),  # the key is the same, so nothing is read
        ("job", None, OTHER, ("job",), None),  # a renewed key
        ("job", "image", OTHER, ("image",), "divided in another account"),
        (None, "image", OTHER, ("image",), None),
        (None, "image", OTHER, (), "can't be verified"),
        (None, None, OTHER, (), "can't be verified"),
    ],
)
def test_a_shard_is_run_in_the_account_of_its_plan(
    job: str | None, asset: str | None, key: str, readable: tuple[str, ...], words: str | None
) -> None:
    found = refused(PlanAccount(fingerprint_of(OURS), job, asset), key, *readable)
    assert (found is None) if words is None else (words in (found or ""))


def test_the_user_may_state_that_the_account_is_the_same_if_nothing_can_be_read() -> None:
    assert refused(PlanAccount(fingerprint_of(OURS)), OTHER, same_account=True) is None
    assert refused(PlanAccount(fingerprint_of(OURS), "job"), OTHER, same_account=True) is not None
