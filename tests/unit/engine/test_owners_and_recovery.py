"""Whose a gateway job is, and when ``--recover`` lets all jobs pass."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from types import SimpleNamespace

from crucible_batch.core.attempt import Attempt, AttemptStatus
from crucible_batch.core.gateway_types import Submission
from crucible_batch.core.job import Job
from crucible_batch.engine.history import JobIdOwners
from crucible_batch.engine.recovery import Recovery
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.errors import ExitCode
from tests.harness.case_table import each_case
from tests.unit.engine.desk import passed


@each_case("job_id, is_new", [("abc", False), ("ABC", False), ("abd", True)])
def test_the_job_of_an_earlier_attempt_is_not_taken_for_the_next_in_whatever_case(
    job_id: str, is_new: bool
) -> None:
    attempts = (
        Attempt(1, "key-1", 1.0, AttemptStatus.FAILED, job_id="Abc"),
        Attempt(2, "key-2", 2.0),
    )
    owners = JobIdOwners(
        SimpleNamespace(accepted_as=lambda _job_id: []),  # type: ignore[arg-type]
        SimpleNamespace(on_entry=lambda _callback: None),  # type: ignore[arg-type]
    )
    assert owners.claim(Job("job", attempts=attempts, attempt=2), job_id) is is_new


@each_case(
    "after_doubt, in_doubt, opens",
    [(False, False, True), (True, False, False), (True, True, True), (False, True, True)],
)
def test_a_key_that_is_known_after_an_unanswered_try_does_not_show_that_the_gateway_remembers(
    after_doubt: bool, in_doubt: bool, opens: bool
) -> None:
    """That try may have bought the job just now; one in doubt was sent by an earlier run."""
    recovery = Recovery(Shutdown(), wanted=True)
    known = Submission("j", Decimal(2), existing=True, after_doubt=after_doubt)
    recovery.saw(known, in_doubt=in_doubt)
    assert recovery.forbids_upload() is not opens


async def test_one_job_asks_until_the_gateway_remembers_and_a_purchase_ends_the_run() -> None:
    stop = Shutdown()
    recovery = Recovery(stop, wanted=True)
    inside: list[int] = []

    async def work(number: int) -> None:
        async with recovery.turn():
            inside.append(number)
            await asyncio.Event().wait()

    jobs = [asyncio.create_task(work(number)) for number in range(3)]
    await passed()
    assert inside == [0]
    for job in jobs:
        job.cancel()
    recovery.saw(Submission("j", Decimal(2), existing=False), in_doubt=False)
    assert stop.no_more
    assert stop.reasons == {ExitCode.STOPPED}
