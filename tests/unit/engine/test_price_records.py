"""The price in a job's own record, against the one in the answer to its submit."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest

from crucible_batch.core.attempt import Attempt
from crucible_batch.core.events import (
    Accepted,
    JobLost,
    Listed,
    Repriced,
    Saved,
    Settled,
    Succeeded,
)
from crucible_batch.core.gateway_types import (
    JobSnapshot,
    JobStatus,
)
from crucible_batch.core.job import Command, Fetch, Poll, RecheckOutputs, Submit
from crucible_batch.core.prices import shape_of
from crucible_batch.engine.job_records import PriceRecords
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.errors import GatewayError
from tests.harness.replacing import replace
from tests.unit.engine.worker_bench import NO_ANSWER, Bench

D = Decimal


async def _accepted(bench: Bench) -> None:
    await bench.hold()
    event = await bench.do(Submit())
    assert isinstance(event, Accepted)
    await bench.record(event)


async def test_a_record_above_the_answer_is_taken_into_the_books_before_anything_else() -> None:
    bench = Bench()
    await _accepted(bench)
    bench.gateway.record = JobSnapshot("j", JobStatus.RUNNING, D(5))
    event = await bench.do(Poll("j"))
    assert event == Repriced(at=event.at, credits=D(5))
    assert bench.admission.needs_comparison("job")  # until it is entered the next submit waits
    await bench.record(event)
    assert not bench.admission.needs_comparison("job")
    assert (
        bench.accounting.ledger.hold_of("job"),
        bench.accounting.ledger.prices.expected(shape_of(bench.planned)),
    ) == (5, 5)
    assert bench.job.current.credits == 5


async def test_a_record_that_only_the_end_shows_is_taken_into_the_books_before_the_end() -> None:
    bench = Bench()
    await _accepted(bench)
    bench.admission.mark_compared("job", D(2))
    bench.gateway.record = JobSnapshot("j", JobStatus.SUCCEEDED, D(5))
    first = await bench.do(Poll("j"))
    assert isinstance(first, Repriced)
    await bench.record(first)
    assert isinstance(await bench.do(Poll("j")), Succeeded)


async def _succeeded(bench: Bench) -> None:
    await _accepted(bench)
    await bench.record(Succeeded(at=1.0, outputs=1, numbers=(0,)))


@pytest.mark.parametrize("command", [RecheckOutputs("j"), Fetch("j", 0)], ids=str)
async def test_a_record_that_rises_after_the_end_is_taken_into_the_books(command: Command) -> None:
    bench = Bench()
    await _succeeded(bench)
    bench.gateway.record = JobSnapshot("j", JobStatus.SUCCEEDED, D(5))
    first = await bench.do(command)
    shape = shape_of(bench.planned)
    assert first == Repriced(
        at=first.at, credits=D(5), settled=Settled(D(2), shape.price_class, shape.digest)
    )
    await bench.record(first)
    assert (
        bench.accounting.ledger.spent,
        bench.accounting.ledger.prices.expected(shape),
        bench.job.current.credits,
    ) == (5, 5, 5)
    assert isinstance(await bench.do(command), Listed | Saved)
    assert isinstance(await bench.do(command), Listed | Saved)
    bench.gateway.record = JobSnapshot("j", JobStatus.SUCCEEDED, D(6))
    again = await bench.do(command)
    assert again.settled == Settled(D(5), shape.price_class, shape.digest, differed=True)


async def test_a_record_beyond_every_bound_that_is_read_after_the_end_ends_all_buying() -> None:
    bench = Bench()
    await _succeeded(bench)
    bench.gateway.record = JobSnapshot("j", JobStatus.SUCCEEDED, D(33))
    await bench.do(RecheckOutputs("j"))
    assert bench.stop.no_more
    assert bench.stop.stops["*"].code == "PRICE_ROSE"


async def test_a_record_that_was_read_counts_also_where_the_command_fails() -> None:
    bench = Bench()
    await _succeeded(bench)
    bench.gateway.record, bench.failing = JobSnapshot("j", JobStatus.SUCCEEDED, D(5)), NO_ANSWER
    first = await bench.do(Fetch("j", 0))
    assert isinstance(first, Repriced)
    await bench.record(first)
    with pytest.raises(GatewayError):
        await bench.do(Fetch("j", 0))


def test_of_the_records_that_were_read_the_highest_counts_once() -> None:
    records = PriceRecords()
    attempt = Attempt(1, "k", 0.0, job_id="j", credits=D(2))
    for credits in (2, 7, 3):
        records.note(JobSnapshot("j", JobStatus.SUCCEEDED, D(credits)))
    assert records.differing(replace(attempt, job_id="other")) is None
    assert (records.differing(attempt), records.differing(attempt)) == (7, None)


@pytest.mark.parametrize(
    ("status", "differs"), [(JobStatus.SUCCEEDED, D(1)), (JobStatus.FAILED, None)]
)
def test_a_lower_record_counts_only_of_a_job_that_has_succeeded(
    status: JobStatus, differs: Decimal | None
) -> None:
    records = PriceRecords()
    records.note(JobSnapshot("j", status, D(1)))
    assert records.differing(Attempt(1, "k", 0.0, job_id="j", credits=D(2))) == differs


async def test_a_submit_without_a_readable_record_is_unanswered_until_the_job_is_over() -> None:
    bench = Bench()
    await _accepted(bench)
    assert bench.admission.needs_comparison("job")
    bench.gateway.record = GatewayError("gone", code="HTTP_502", status=502)
    with pytest.raises(GatewayError):
        await bench.do(Poll("j"))
    assert bench.admission.needs_comparison("job")
    bench.admission.leave("job")
    assert not bench.admission.needs_comparison("job")


async def test_a_job_that_was_just_accepted_may_be_unknown_for_some_seconds() -> None:
    bench = Bench()
    await _accepted(bench)
    bench.gateway.unknown = 4
    bench.gateway.record = JobSnapshot("j", JobStatus.RUNNING, D(5))
    event = await bench.do(Poll("j"))
    assert isinstance(event, Repriced)


@pytest.mark.parametrize("code", ["JOB_NOT_FOUND", "HTTP_404"])
async def test_a_job_whose_record_was_never_read_counts_as_one_of_a_row(code: str) -> None:
    bench = Bench()
    await _accepted(bench)
    for _ in range(4):
        bench.stop.unread(NO_ANSWER)
    bench.gateway.record = GatewayError("not found", code=code, status=404)
    with suppress(GatewayError):
        await bench.do(Poll("j"))
    assert bench.stop.no_more


async def test_five_jobs_in_a_row_whose_record_cannot_be_read_end_the_buying() -> None:
    stop = Shutdown()
    for _ in range(4):
        stop.unread(NO_ANSWER)
    stop.read()
    for _ in range(4):
        stop.unread(NO_ANSWER)
    assert not stop.no_more
    stop.unread(NO_ANSWER)
    assert stop.no_more
    assert "the records of the last accepted jobs can't be read" in (stop.stops["*"].hint or "")


@pytest.mark.parametrize(("code", "is_lost"), [("JOB_NOT_FOUND", True), ("HTTP_404", False)])
async def test_only_the_gateway_itself_can_say_that_it_no_longer_knows_a_job(
    code: str, is_lost: bool
) -> None:
    """A 404 that is a page of something in front of the gateway proves nothing."""
    bench = Bench()
    await _accepted(bench)
    bench.gateway.record = GatewayError("not found", code=code, status=404)
    if is_lost:
        assert isinstance(await bench.do(Poll("j")), JobLost)
    else:
        with pytest.raises(GatewayError):
            await bench.do(Poll("j"))
