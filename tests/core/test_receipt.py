"""Receipts tell a job's story again, and nothing that they don't know."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.answers import AssetSpec
from crucible_batch.core.events import Accepted, JobEvent, Saved
from crucible_batch.core.identity import idempotency_key
from crucible_batch.core.job import Job, Phase, replay, step
from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.core.receipt import Receipt, newest_attempts, receipt_of, story
from tests.core.histories import lives


def planned_for(job: Job) -> PlannedJob:
    image = InputImage(AssetSpec("a" * 64, 1, "image/png", "a.png"), Path("a.png"))
    return PlannedJob(0, job.identity, "job", "w", {}, {"image.image": image} if job.has_images else {})


def written(job: Job, life: list[JobEvent]) -> tuple[Job, list[Receipt]]:
    """Live a life and keep the receipts that it leaves."""
    receipts = []
    for event in life:
        job = step(job, event)
        if (receipt := receipt_of(job, event)) is not None:
            receipts.append(receipt)
    return job, receipts


def told_again(fresh: Job, receipts: list[Receipt]) -> Job | None:
    newest = newest_attempts(receipts).get(fresh.identity)
    if newest is None:
        return None
    true = {receipt.saved.index: receipt.saved for receipt in newest if receipt.saved is not None}
    return replay(fresh, story(planned_for(fresh), newest, true))


@given(lives())
def test_a_story_told_from_receipts_is_as_far_as_the_life_was_or_asks_the_gateway(life):
    fresh, happened = life
    lived, receipts = written(fresh, happened)
    again = told_again(fresh, receipts)
    if not any(isinstance(event, Accepted) for event in happened):
        assert again is None
        return
    assert again is not None
    assert again.phase in {Phase.SUCCEEDED, Phase.IN_FLIGHT}
    accepted = [attempt for attempt in lived.attempts if attempt.job_id is not None]
    assert again.current.key == accepted[-1].key
    assert again.current.job_id == accepted[-1].job_id
    assert again.current.reused  # no story makes a purchase of this run
    if again.phase is Phase.SUCCEEDED:
        assert set(again.outputs) == set(range(again.expected or 0))


def receipt(attempt: int = 1, **changes: object) -> Receipt:
    made = Receipt("i" * 64, attempt, idempotency_key("i" * 64, attempt), f"job_{attempt}", Decimal(2), 1.0)
    return replace(made, **changes)


def output(index: int) -> Saved:
    return Saved(at=2.0, index=index, path=f"job/{index}.png", sha256="f" * 64, byte_size=1, mime_type="image/png",
                 width=1, height=1)  # fmt: skip


def test_of_several_attempts_the_newest_counts_in_whatever_order_they_stand():
    found = newest_attempts([receipt(2), receipt(1), receipt(2, saved=output(0), outputs=1)])
    assert [(line.attempt, line.saved is not None) for line in found["i" * 64]] == [(2, False), (2, True)]


def test_a_receipt_whose_key_is_not_its_attempts_is_left_out():
    assert newest_attempts([receipt(3, key="cb1-" + "0" * 64), receipt(0, key=idempotency_key("i" * 64, 0))]) == {}


@given(st.sets(st.integers(0, 2)))
def test_a_job_is_done_only_when_all_of_its_outputs_are_true(true):
    lines = [receipt(), *(receipt(outputs=3, saved=output(index)) for index in range(3))]
    job = Job("i" * 64)
    again = replay(job, story(planned_for(job), lines, {index: output(index) for index in true}))
    assert (again.phase is Phase.SUCCEEDED) == (true == {0, 1, 2})
