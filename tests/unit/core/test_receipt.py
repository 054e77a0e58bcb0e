"""Receipts tell a job's story again, and nothing that they don't know."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.attempt import AttemptStatus
from crucible_batch.core.events import Accepted, JobEvent, Listed, Saved, Succeeded
from crucible_batch.core.gateway_types import AssetSpec, JobSnapshot, JobStatus
from crucible_batch.core.identity import idempotency_key
from crucible_batch.core.job import Job, Phase, evolve, replay
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.core.receipts import (
    CheckedClaim,
    Receipt,
    attempt_claims,
    rebuild_events,
    receipt_for,
    with_minimum_price,
)
from tests.harness.case_table import each_case
from tests.harness.histories import lives
from tests.harness.job_events import accepted_event, held_event, saved_event
from tests.harness.replacing import replace


def planned_for(job: Job) -> PlannedJob:
    image = InputImage(AssetSpec("a" * 64, 1, "image/png", "a.png"), Path("a.png"))
    return PlannedJob(
        0, job.identity, "job", "w", {}, {"image.image": image} if job.has_images else {}
    )


def written(job: Job, life: list[JobEvent]) -> tuple[Job, list[Receipt]]:
    """Live a life and keep the receipts that it leaves."""
    receipts = []
    for event in life:
        job = evolve(job, event)
        if (receipt := receipt_for(job, event)) is not None:
            receipts.append(receipt)
    return job, receipts


def as_the_gateway_has_it(lived: Job) -> dict[str, JobSnapshot]:
    statuses = {AttemptStatus.FAILED: JobStatus.FAILED, AttemptStatus.ACCEPTED: JobStatus.RUNNING}
    return {
        attempt.job_id: JobSnapshot(
            attempt.job_id, statuses.get(attempt.status, JobStatus.SUCCEEDED), attempt.credits
        )
        for attempt in lived.attempts
        if attempt.job_id is not None
    }


def told_again(fresh: Job, lived: Job, receipts: list[Receipt]) -> Job | None:
    records = as_the_gateway_has_it(lived)
    told = [
        CheckedClaim(claim, claim.job_ids[0], records.get(claim.job_ids[0]))
        for claim in attempt_claims(receipts)
    ]
    if not told:
        return None
    true = {
        receipt.saved.index: receipt.saved
        for receipt in told[-1].claim.receipts
        if receipt.saved is not None
    }
    return replay(fresh, rebuild_events(planned_for(fresh), told, true))


@given(lives())
def test_a_story_told_from_receipts_and_records_is_as_far_as_the_life_was_or_asks_the_gateway(life):
    fresh, happened = life
    happened = [
        replace(event, job_id=f"j{place}") if isinstance(event, Accepted) else event
        for place, event in enumerate(happened)
    ]
    lived, receipts = written(fresh, happened)
    again = told_again(fresh, lived, receipts)
    if not any(isinstance(event, Accepted) for event in happened):
        assert again is None
        return
    assert again is not None
    accepted = [attempt for attempt in lived.attempts if attempt.job_id is not None]
    assert [(one.key, one.job_id) for one in again.attempts] == [
        (one.key, one.job_id) for one in accepted
    ]
    assert all(
        one.credits >= before.credits for one, before in zip(again.attempts, accepted, strict=True)
    )
    assert all(one.reused for one in again.attempts)  # no story makes a purchase of this run
    assert (accepted[-1].status is AttemptStatus.FAILED) == (
        again.phase in {Phase.READY, Phase.FAILED}
    )
    if again.phase is Phase.SUCCEEDED:
        assert set(again.outputs) == set(range(again.expected or 0))


def receipt(attempt: int = 1, **changes: object) -> Receipt:
    made = Receipt(
        "i" * 64, attempt, idempotency_key("i" * 64, attempt), f"job_{attempt}", Decimal(2), 1.0
    )
    return replace(made, **changes)


def output(index: int) -> Saved:
    return saved_event(index, f"job/{index}.png", at=2.0, sha256="f" * 64)


def test_attempts_come_in_their_order_in_whatever_order_they_stand():
    found = attempt_claims([receipt(2), receipt(1), receipt(2, saved=output(0), outputs=1)])
    assert [(claim.number, len(claim.receipts)) for claim in found] == [(1, 1), (2, 2)]


@each_case(
    "changes",
    [
        {"attempt": 3, "key": "cb1-" + "0" * 64},
        {"attempt": 0, "key": idempotency_key("i" * 64, 0)},
        {"job_id": "../credits"},
        {"job_id": ""},
        {"job_id": "j" * 129},
        {"at": math.nan},
        {"at": math.inf},
        {"at": -1.0},
        {"saved": replace(output(0), at=math.nan)},
    ],
)
def test_a_receipt_that_we_can_not_have_written_is_left_out(changes: dict[str, object]):
    assert attempt_claims([receipt(**changes)]) == []


def test_a_further_line_raises_a_price_and_never_lowers_it():
    def price(*credits: int) -> Decimal:
        return attempt_claims([receipt(credits=Decimal(amount)) for amount in credits])[0].credits

    assert (price(2, 0), price(0, 2), price(2, 9, 1)) == (2, 2, 9)


def test_of_the_jobs_of_one_attempt_the_first_named_comes_first_and_they_are_bounded():
    lines = [receipt(job_id=f"job_{number}") for number in [1, 1, *range(100)]]
    assert attempt_claims(lines)[0].job_ids == ("job_1", "job_0", "job_2", "job_3")


def test_there_is_an_end_to_the_attempts_that_are_believed():
    assert [
        claim.number for claim in attempt_claims([receipt(number) for number in range(200, 0, -1)])
    ] == [*range(1, 65)]


def snapshot(status: JobStatus, credits: int, workflow_id: str = "w") -> JobSnapshot:
    return JobSnapshot("job_1", status, Decimal(credits), workflow_id=workflow_id)


@each_case("claimed, recorded, counts", [(0, 7, 7), (1, 7, 7), (7, 1, 7), (2, 2, 2)])
def test_the_higher_of_what_a_receipt_and_a_record_name_counts(
    claimed: int, recorded: int, counts: int
):
    (claim,) = attempt_claims([receipt(credits=Decimal(claimed))])
    job = Job("i" * 64)
    told = CheckedClaim(claim, "job_1", snapshot(JobStatus.SUCCEEDED, recorded))
    events = rebuild_events(planned_for(job), [told], {})
    ledger = Ledger()
    for event in events:
        ledger.apply(job.identity, event)
    assert ledger.held == counts
    assert replay(job, events).current.credits == counts


def test_a_job_that_the_gateway_does_not_know_counts_at_what_others_of_its_kind_are_known_to_cost():
    (claim,) = attempt_claims([receipt(credits=Decimal(1))])
    job = Job("i" * 64)
    events = rebuild_events(planned_for(job), [CheckedClaim(claim, "job_1", None)], {})
    for minimum, credits in ((7, 7), (0, 1)):
        priced = with_minimum_price(events, Decimal(minimum), {"job_1"})
        assert replay(job, priced).current.credits == credits  # type: ignore[arg-type]


def test_an_unknown_attempt_that_another_follows_has_failed_and_is_held_until_its_refund():
    claims = attempt_claims([receipt(1, credits=Decimal(1)), receipt(2, credits=Decimal(3))])
    job = Job("i" * 64)
    checked = [
        CheckedClaim(claims[0], "forgotten", None),
        CheckedClaim(claims[1], "job_1", snapshot(JobStatus.SUCCEEDED, 3)),
    ]
    events = rebuild_events(planned_for(job), checked, {})
    ledger = Ledger()
    for event in with_minimum_price(events, Decimal(5), {"forgotten"}):
        ledger.apply(job.identity, event)
    assert [attempt.status for attempt in replay(job, events).attempts] == [
        AttemptStatus.FAILED,
        AttemptStatus.ACCEPTED,
    ]
    assert ledger.held_for_refunds == 5
    assert ledger.held == 5 + 3


@each_case("status", [JobStatus.RUNNING, JobStatus.QUEUED, JobStatus.FAILED, JobStatus.UNKNOWN])
def test_a_job_that_has_not_succeeded_is_not_done_whatever_stands_on_disk(status: JobStatus):
    (claim,) = attempt_claims([receipt(outputs=1, saved=output(0))])
    job = Job("i" * 64)
    again = replay(
        job,
        rebuild_events(
            planned_for(job), [CheckedClaim(claim, "job_1", snapshot(status, 2))], {0: output(0)}
        ),
    )
    assert again.phase is (Phase.READY if status is JobStatus.FAILED else Phase.IN_FLIGHT)


@given(st.sets(st.integers(0, 2)))
def test_a_job_is_done_only_when_all_of_its_outputs_are_true(true):
    lines = [receipt(), *(receipt(outputs=3, saved=output(index)) for index in range(3))]
    job = Job("i" * 64)
    told = [CheckedClaim(attempt_claims(lines)[0], "job_1", None)]
    again = replay(
        job, rebuild_events(planned_for(job), told, {index: output(index) for index in true})
    )
    assert (again.phase is Phase.SUCCEEDED) == (true == {0, 1, 2})


def test_a_list_that_grew_after_the_first_receipt_is_whole_with_all_that_it_came_to() -> None:
    first = Job("a" * 64)
    life: list[JobEvent] = [
        held_event(2, key=first.key),
        accepted_event(2),
        Succeeded(at=1.0, outputs=1, numbers=(0,)),
        saved_event(0),
        Listed(at=2.0, numbers=(0, 1)),
        saved_event(1),
        Listed(at=3.0, numbers=(0, 1)),
    ]
    job, receipts = written(first, life)
    again = told_again(first, job, receipts)
    assert again is not None
    assert (job.phase, again.phase, set(again.outputs)) == (
        Phase.SUCCEEDED,
        Phase.SUCCEEDED,
        {0, 1},
    )
