"""What the events of a directory show as charged, and when."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.credits import ZERO
from crucible_batch.core.events import (
    Accepted,
    Consumed,
    Created,
    Deleted,
    Event,
    Failed,
    Found,
    HoldReleased,
    JobLost,
    Lost,
    NotCharged,
    Refunded,
    RefundForgotten,
    Repriced,
    Settled,
    SubmitUnknown,
    Succeeded,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import UPLOAD, PriceBook
from crucible_batch.features.spend.charges import Charge, Charges
from tests.harness.case_table import each_case
from tests.harness.histories import lives
from tests.harness.job_events import accepted_event, held_event, intended_event

ERROR = ErrorInfo("X", "x")
JOB, IMAGE = "a" * 64, "asset:" + "b" * 64
HELD = held_event(5, at=1.0)
DOUBT = SubmitUnknown(at=2.0, error=ERROR)
BOUGHT = accepted_event(3, at=3.0)
DONE, FAILED = Succeeded(at=4.0, outputs=1), Failed(at=4.0, error=ERROR)
LOST = JobLost(at=4.0, error=ERROR)
CREATED = Created(at=3.0, asset_id="i", credits=Decimal(2))
INTENDED = intended_event(2, JOB, at=2.0)


def refunded(credits: str = "3") -> Refunded:
    return Refunded(at=9.0, attempt=1, credits=Decimal(credits), entry_id=f"r{credits}")


def charges_of(
    job: Sequence[Event], image: Sequence[Event] = (), prices: PriceBook | None = None
) -> Charges:
    found = Charges(Ledger(prices))
    for subject, events in ((JOB, job), (IMAGE, image)):
        for event in events:
            found.apply(subject, event)
    return found


def shown(charges: Charges) -> list[tuple[float, str]]:
    return [(each.at, str(each.credits)) for each in charges.all()]


@each_case(
    "events, charged, unanswered",
    [
        ([HELD], [], "5"),
        ([HELD, DOUBT], [], "5"),
        ([HELD, HoldReleased(at=2.0, error=ERROR)], [], "0"),
        ([HELD, BOUGHT], [(3.0, "3")], "0"),
        ([HELD, BOUGHT, DONE], [(3.0, "3")], "0"),
        # Only a later run got the answer: it was bought when it was sent.
        ([HELD, DOUBT, accepted_event(3, at=3.0, earlier=True), DONE], [(1.0, "3")], "0"),
        # Another directory has bought it.
        ([HELD, accepted_event(3, at=3.0, reused=True)], [], "0"),
        ([HELD, accepted_event(3, at=3.0, reused=True), DONE], [], "0"),
        ([HELD, BOUGHT, LOST], [(3.0, "3")], "0"),
        # The refund counts once the gateway's ledger has shown it, in the time of the charge.
        ([HELD, BOUGHT, FAILED], [(3.0, "3")], "0"),
        ([HELD, BOUGHT, FAILED, refunded("1")], [(3.0, "2")], "0"),
        ([HELD, BOUGHT, FAILED, refunded()], [(3.0, "0")], "0"),
        ([HELD, BOUGHT, FAILED, refunded(), refunded()], [(3.0, "0")], "0"),
        ([HELD, BOUGHT, FAILED, refunded(), refunded("-3")], [(3.0, "3")], "0"),
        ([HELD, BOUGHT, LOST, FAILED, refunded()], [(3.0, "0")], "0"),
        (
            [HELD, BOUGHT, FAILED, Consumed(at=9.0, attempt=1, credits=Decimal(3), entry_id="c")],
            [(3.0, "3")],
            "0",
        ),
        (
            [HELD, BOUGHT, FAILED, RefundForgotten(at=9.0, attempt=1, credits=Decimal(3), by="m")],
            [(3.0, "0")],
            "0",
        ),
        # Bought again: two charges, of which the first is refunded.
        (
            [HELD, BOUGHT, FAILED, held_event(5, at=5.0, attempt=2),
             accepted_event(4, "k", at=6.0), refunded(), DONE],
            [(3.0, "0"), (6.0, "4")],
            "0",
        ),
        # The higher price counts.
        ([HELD, BOUGHT, Repriced(at=4.0, credits=Decimal(4))], [(3.0, "4")], "0"),
        ([HELD, BOUGHT, Repriced(at=4.0, credits=Decimal(2))], [(3.0, "3")], "0"),
        (
            [HELD, BOUGHT, DONE,
             Repriced(at=5.0, credits=Decimal(4), settled=Settled(Decimal(3), "workflow:w", ""))],
            [(3.0, "4")],
            "0",
        ),
    ],
)  # fmt: skip
def test_what_a_job_was_charged(
    events: list[Event], charged: list[tuple[float, str]], unanswered: str
) -> None:
    found = charges_of(events)
    assert shown(found) == charged
    assert found.unanswered == Decimal(unanswered)


@each_case(
    "events, charged, unanswered",
    [
        ([INTENDED], [], "7"),
        ([INTENDED, CREATED], [(3.0, "2")], "5"),
        ([INTENDED, CREATED, Deleted(at=9.0, rebate=Decimal("1.5"))], [(3.0, "0.5")], "5"),
        ([INTENDED, CREATED, Deleted(at=9.0, rebate=Decimal(3))], [(3.0, "0")], "5"),
        # The rebate of an image that was found is for the directory that has bought it.
        (
            [INTENDED, CREATED, Found(at=4.0, asset_id="k"), Deleted(at=9.0, rebate=Decimal(1))],
            [(3.0, "2")],
            "5",
        ),
        ([Found(at=4.0, asset_id="k"), Deleted(at=9.0, rebate=Decimal(1))], [], "7"),
        ([INTENDED, Lost(at=3.0, nonce="n")], [], "7"),
        # An assumed charge counts at the highest price seen: here the declared one was not paid.
        (
            [INTENDED, Created(at=3.0, asset_id="i", credits=Decimal(2), assumed=True)],
            [(3.0, "0")],
            "7",
        ),
        (
            [INTENDED, CREATED, intended_event(2, JOB, at=4.0, nonce="m"),
             Created(at=5.0, asset_id="k", credits=Decimal(2), assumed=True)],
            [(3.0, "2"), (5.0, "2")],
            "3",
        ),
        (
            [INTENDED, CREATED, intended_event(2, JOB, at=4.0, nonce="m"),
             Created(at=5.0, asset_id="k", credits=Decimal(2), assumed=True),
             NotCharged(at=6.0, nonce="m")],
            [(3.0, "2")],
            "3",
        ),
    ],
)  # fmt: skip
def test_what_an_upload_was_charged(
    events: list[Event], charged: list[tuple[float, str]], unanswered: str
) -> None:
    found = charges_of([held_event(7, at=1.0, images=True)], events, PriceBook(None, Decimal(2)))
    assert shown(found) == charged
    assert found.unanswered == Decimal(unanswered)
    assert all(each.shape == UPLOAD for each in found.all())


def test_a_charge_has_its_workflow_and_its_number() -> None:
    (charge,) = charges_of([HELD, BOUGHT]).all()
    assert (charge.shape.name, charge.number, charge.price) == ("w", "j", Decimal(3))


def test_an_impossible_event_is_counted_and_raises_nothing() -> None:
    found = charges_of([BOUGHT, HELD, BOUGHT, DONE])
    assert all(isinstance(each, Charge) for each in found.all())


@given(st.lists(lives(), max_size=5, unique_by=lambda life: life[0].identity))
def test_the_sum_is_that_of_the_ledger(found: list[tuple[Job, list[Event]]]) -> None:
    """The ledger has it as spent, as held for accepted jobs, and as held for refunds."""
    charges, in_flight = Charges(Ledger(PriceBook())), ZERO
    for job, events in found:
        is_answered = False
        for event in events:
            charges.apply(job.identity, event)
            if isinstance(event, Accepted):
                is_answered = True
            elif type(event) is type(HELD):
                is_answered = False
        if is_answered:
            in_flight += charges.ledger.hold_of(job.identity)
    ledger = charges.ledger
    total = sum((each.credits for each in charges.all()), ZERO)
    assert total == ledger.spent + in_flight + ledger.held_for_refunds
    assert charges.unanswered == ledger.held - in_flight - ledger.held_for_refunds
