"""A charge belongs to the period in which it was made; where that isn't certain, to both."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.budget_period import Calendar
from crucible_batch.core.charge_times import DatedLedger
from crucible_batch.core.events import (
    Accepted,
    BecameReady,
    Consumed,
    Created,
    Deleted,
    Event,
    Failed,
    Found,
    Held,
    HoldReleased,
    Intended,
    JobLost,
    Lost,
    NotCharged,
    NotCreated,
    Refunded,
    RefundForgotten,
    Repriced,
    Settled,
    SubmitUnknown,
    Succeeded,
    Uploaded,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import PriceBook
from tests.harness.histories import lives
from tests.harness.job_events import accepted_event, held_event, intended_event

ERROR = ErrorInfo("X", "x")
DAY = Calendar("day", ZoneInfo("UTC"))
B = 20_000 * 86_400.0
"""A midnight."""
YESTERDAY, TODAY, TOMORROW = DAY.at(B - 1), DAY.at(B), DAY.at(B + 86_400)
JOB, IMAGE = "a" * 64, "asset:" + "b" * 64


def d(number: float) -> Decimal:
    return Decimal(str(number))


def held(at: float, credits: float = 5, *, images: bool = False, attempt: int = 1) -> Held:
    return held_event(credits, at=at, attempt=attempt, images=images)


def accepted(at: float, credits: float = 3, *, reused: bool = False) -> Accepted:
    return accepted_event(credits, at=at, reused=reused)


def succeeded(at: float) -> Succeeded:
    return Succeeded(at=at, outputs=1)


def failed(at: float) -> Failed:
    return Failed(at=at, error=ERROR)


def refunded(at: float, credits: float = 3) -> Refunded:
    return Refunded(at=at, attempt=1, credits=d(credits), entry_id="e")


def consumed(at: float, credits: float = 3) -> Consumed:
    return Consumed(at=at, attempt=1, credits=d(credits), entry_id="c")


def forgotten(at: float, credits: float = 3) -> RefundForgotten:
    return RefundForgotten(at=at, attempt=1, credits=d(credits), by="mia@studio")


def upload(at: float, *answers: Event) -> list[tuple[str, Event]]:
    """A job with an image, whose upload is intended at ``at``."""
    first = (
        (JOB, held(at, 7, images=True)),
        (IMAGE, intended_event(2, JOB, at=at)),
    )
    return [
        *first,
        *((IMAGE, answer) for answer in answers),
        (JOB, HoldReleased(at=at, error=ERROR)),
    ]


def books(events: Sequence[tuple[str, Event]]) -> DatedLedger:
    found = DatedLedger(Ledger(PriceBook(d(5), d(2))), [YESTERDAY, TODAY, TOMORROW])
    for subject, event in events:
        found.apply(subject, event)
    return found


def job(*events: Event) -> list[tuple[str, Event]]:
    return [(JOB, event) for event in events]


OLD, NEW = B - 3600, B + 3600
DOUBT = SubmitUnknown(at=OLD, error=ERROR)
SPENT = Settled(d(3), "workflow:w", "")


@pytest.mark.parametrize(
    ("events", "yesterday", "today", "tomorrow", "certain"),
    [
        pytest.param(
            job(held(OLD), accepted(OLD), succeeded(OLD)), 3, 0, 0, 3,
            id="before the boundary",
        ),
        pytest.param(job(held(NEW), accepted(NEW), succeeded(NEW)), 0, 3, 0, 3, id="after it"),
        pytest.param(
            job(held(OLD), accepted(OLD), succeeded(NEW)), 3, 0, 0, 3,
            id="ended after it",
        ),
        pytest.param(job(held(OLD), accepted(OLD)), 3, 0, 0, 0, id="in flight"),
        pytest.param(
            job(held(OLD), accepted(OLD), failed(NEW)), 3, 0, 0, 0,
            id="failed, and the refund not seen",
        ),
        pytest.param(
            job(held(OLD), accepted(OLD), failed(NEW), refunded(NEW)), 0, 0, 0, 0,
            id="refunded later: no credit today",
        ),
        pytest.param(
            job(held(OLD), accepted(OLD), failed(NEW), refunded(NEW, 1)), 2, 0, 0, 0,
            id="refunded later in part",
        ),
        pytest.param(
            job(held(OLD), accepted(OLD), failed(NEW), consumed(NEW, 2), refunded(NEW, 0.5)),
            2.5, 0, 0, 0,
            id="failed and charged later",
        ),
        pytest.param(
            job(held(OLD), accepted(OLD), failed(NEW), forgotten(NEW)), 0, 0, 0, 0,
            id="its refund forgotten today",
        ),
        pytest.param(
            job(held(NEW), accepted(NEW, reused=True), failed(NEW)), 0, 3, 0, 0,
            id="found, and failed: as it was held",
        ),
        pytest.param(
            job(held(B - 1), accepted(B + 1), succeeded(NEW)), 3, 3, 0, 3,
            id="in the middle: both",
        ),
        pytest.param(
            job(held(B - 13), accepted(B - 11), succeeded(NEW)), 3, 0, 0, 3,
            id="beyond the tolerance before",
        ),
        pytest.param(
            job(held(B - 13), accepted(B - 9), succeeded(NEW)), 3, 3, 0, 3,
            id="within the tolerance before",
        ),
        pytest.param(
            job(held(B + 9), accepted(B + 13), succeeded(NEW)), 3, 3, 0, 3,
            id="within the tolerance after",
        ),
        pytest.param(
            job(held(B + 11), accepted(B + 13), succeeded(NEW)), 0, 3, 0, 3,
            id="beyond the tolerance after",
        ),
        pytest.param(
            job(held(NEW), accepted(OLD), succeeded(OLD)), 3, 3, 0, 3,
            id="clock set back in between: both",
        ),
        pytest.param(job(held(OLD)), 5, 5, 5, 0, id="without an answer: in all from then on"),
        pytest.param(job(held(NEW)), 0, 5, 5, 0, id="without an answer, begun today"),
        pytest.param(job(held(OLD), DOUBT), 5, 5, 5, 0, id="in doubt"),
        pytest.param(job(held(OLD), DOUBT, accepted(NEW)), 3, 3, 0, 0, id="doubt resolved"),
        pytest.param(job(held(OLD), HoldReleased(at=NEW, error=ERROR)), 0, 0, 0, 0, id="not sent"),
        pytest.param(
            job(held(NEW), accepted(NEW, reused=True), succeeded(NEW)), 0, 3, 0, 3,
            id="found",
        ),
        pytest.param(
            job(held(OLD), accepted(OLD), JobLost(at=NEW, error=ERROR)), 3, 0, 0, 0,
            id="lost",
        ),
        pytest.param(
            job(held(OLD), accepted(OLD), JobLost(at=OLD, error=ERROR), failed(NEW)), 3, 0, 0, 0,
            id="lost, then failed",
        ),
        pytest.param(
            job(held(OLD), accepted(OLD), JobLost(at=OLD, error=ERROR), succeeded(NEW)), 3, 0, 0, 3,
            id="lost, found",
        ),
        pytest.param(
            job(held(OLD), accepted(OLD), Repriced(at=OLD, credits=d(4))), 4, 0, 0, 0,
            id="repriced",
        ),
        pytest.param(
            job(
                held(OLD), accepted(OLD), succeeded(OLD),
                Repriced(at=NEW, credits=d(4), settled=SPENT),
            ),
            4, 1, 0, 4, id="repriced after its end",
        ),
        pytest.param(
            job(
                held(OLD), accepted(OLD), failed(OLD),
                held(NEW, attempt=2), accepted(NEW), succeeded(NEW),
            ),
            3, 3, 0, 3,
            id="bought again today, and the refund not seen",
        ),
        pytest.param(
            job(
                held(OLD), accepted(OLD), failed(OLD), held(NEW, attempt=2), accepted(NEW),
                refunded(NEW), succeeded(NEW),
            ),
            0, 3, 0, 3,
            id="bought again today",
        ),
        pytest.param(
            upload(OLD, Created(at=OLD, asset_id="i", credits=d(2))), 2, 0, 0, 0,
            id="image",
        ),
        pytest.param(
            upload(
                OLD, Created(at=OLD, asset_id="i", credits=d(2)),
                Uploaded(at=OLD), BecameReady(at=OLD),
            ),
            2, 0, 0, 2, id="image that is ready",
        ),
        pytest.param(
            upload(
                OLD, Created(at=OLD, asset_id="i", credits=d(2)), Deleted(at=NEW, rebate=d(1.5)),
            ),
            0.5, 0, 0, 0.5, id="image deleted today: no credit for today",
        ),
        pytest.param(
            upload(OLD, Created(at=OLD, asset_id="i", credits=d(2)), Found(at=NEW, asset_id="k")),
            2, 0, 0, 2, id="image found again",
        ),
        pytest.param(
            upload(
                OLD, Created(at=OLD, asset_id="i", credits=d(2)),
                Created(at=OLD, asset_id="k", credits=d(1)),
            ),
            3, 0, 0, 0, id="image bought twice",
        ),
        pytest.param(
            upload(
                OLD, Intended(at=OLD, nonce="m", credits=d(2), payer=JOB),
                Created(at=OLD, asset_id="i", credits=d(2)), Found(at=OLD, asset_id="k"),
            ),
            4, 4, 4, 0, id="contradictory image: in all",
        ),
        pytest.param(
            upload(OLD, NotCreated(at=OLD, error=ERROR)), 0, 0, 0, 0,
            id="image not bought",
        ),
        pytest.param(upload(OLD, Lost(at=OLD, nonce="n")), 2, 0, 0, 0, id="image never answered"),
        pytest.param(
            upload(
                OLD, Lost(at=OLD, nonce="n"), Intended(at=NEW, nonce="m", credits=d(2), payer=JOB),
                NotCharged(at=NEW, nonce="n"),
            ),
            0, 2, 2, 0, id="image never charged, while it is uploaded again",
        ),
        pytest.param(
            upload(
                OLD, Lost(at=OLD, nonce="n"), Intended(at=NEW, nonce="m", credits=d(2), payer=JOB),
                Lost(at=NEW, nonce="m"), NotCharged(at=NEW, nonce="n"),
            ),
            0, 2, 0, 0, id="image never charged once, and never answered again",
        ),
        pytest.param(
            upload(OLD, Created(at=NEW, asset_id="i", credits=d(2), assumed=True)), 2, 2, 0, 0,
            id="assumed charge",
        ),
        pytest.param(
            job(accepted(OLD), held(NEW), accepted(NEW)), 5, 5, 5, 0,
            id="contradictory: in all",
        ),
    ],
)  # fmt: skip
def test_the_period_of_a_charge(
    events: list[tuple[str, Event]], yesterday: float, today: float, tomorrow: float, certain: float
) -> None:
    found = books(events)
    assert [found.used_in(period) for period in (YESTERDAY, TODAY, TOMORROW)] == [
        d(yesterday),
        d(today),
        d(tomorrow),
    ]
    assert found.certain == d(certain)


def test_no_charge_was_made_after_now() -> None:
    """The clock was ahead when they were dated."""
    ahead = (
        job(held(NEW), accepted(NEW), succeeded(NEW)),
        job(held(NEW), accepted(NEW)),
        job(held(NEW)),
    )
    for events in ahead:
        found = DatedLedger(Ledger(PriceBook(d(5), d(2))), [YESTERDAY, TODAY], OLD)
        for subject, event in events:
            found.apply(subject, event)
        assert found.used_in(YESTERDAY) == found.ledger.committed > 0


@pytest.mark.parametrize(
    ("events", "yesterday", "today"),
    [
        pytest.param(job(held(OLD), accepted(OLD), failed(NEW)), 3, 0, id="bought yesterday"),
        pytest.param(job(held(NEW), accepted(NEW), failed(NEW)), 0, 3, id="bought today"),
        pytest.param(
            job(held(B - 1), accepted(B + 1), failed(NEW)), 3, 3,
            id="in the middle: both",
        ),
        pytest.param(
            job(held(NEW), accepted(NEW, reused=True), failed(NEW)), 0, 3,
            id="found: as it was held",
        ),
        pytest.param(
            job(held(OLD), accepted(OLD), failed(NEW), refunded(NEW, 1)), 2, 0,
            id="refunded in part",
        ),
        pytest.param(
            job(held(OLD), accepted(OLD), failed(NEW), consumed(NEW)), 0, 0,
            id="charged: not for a refund",
        ),
        pytest.param(
            job(held(OLD), accepted(OLD), failed(NEW), forgotten(NEW)), 0, 0,
            id="released",
        ),
        pytest.param(
            job(held(OLD), accepted(OLD), JobLost(at=OLD, error=ERROR), failed(NEW)), 3, 0,
            id="lost, then failed",
        ),
        pytest.param(
            job(
                held(OLD), accepted(OLD), failed(OLD),
                held(NEW, attempt=2), accepted(NEW), failed(NEW),
            ),
            3, 3,
            id="each attempt in its own",
        ),
        pytest.param(job(held(OLD), accepted(OLD)), 0, 0, id="in flight: no refund is held for"),
    ],
)  # fmt: skip
def test_what_is_held_for_refunds_is_in_the_period_of_the_purchase(
    events: list[tuple[str, Event]], yesterday: float, today: float
) -> None:
    found = books(events)
    assert [found.refunds_in(period) for period in (YESTERDAY, TODAY, TOMORROW)] == [
        d(yesterday),
        d(today),
        0,
    ]


def test_what_is_held_without_an_answer_is_known_apart() -> None:
    found = books([*job(held(OLD), accepted(OLD)), ("c" * 64, held(NEW))])
    assert (found.unanswered, found.unanswered_in(YESTERDAY), found.unanswered_in(TODAY)) == (
        5,
        0,
        5,
    )


def test_a_run_asks_for_what_it_needs_and_for_what_may_come_back() -> None:
    found = books([*job(held(OLD), accepted(OLD)), ("c" * 64, held(NEW)), *_bought("d", NEW)])
    request = found.request(TODAY, need=d(10))
    assert (request.wanted, request.certain, request.used) == (10 + 3 + 5, 3, 8)
    assert found.request(TODAY).wanted is None
    assert found.request(TODAY, own=d(12), need=d(10)).wanted == 12 - 3
    assert found.request(TODAY, own=d(1), need=d(10)).wanted == 0


def _bought(name: str, at: float) -> list[tuple[str, Event]]:
    return [(name * 64, event) for event in (held(at), accepted(at), succeeded(at))]


@given(st.lists(lives(), max_size=6, unique_by=lambda each: each[0].identity))
def test_no_credit_is_left_out(found: list[tuple[Job, list[Event]]]) -> None:
    """All of it is in the period in which it happened, and later only what has no answer."""
    then, later = DAY.at(1.0), DAY.at(10 * 86_400.0)
    ledger = DatedLedger(Ledger(), [then, later])
    for job, events in found:
        for event in events:
            ledger.apply(job.identity, event)
    assert ledger.used_in(then) == ledger.ledger.committed
    assert ledger.used_in(later) == ledger.unanswered
    assert 0 <= ledger.certain == ledger.certain_between(0, later.start) <= ledger.ledger.committed
