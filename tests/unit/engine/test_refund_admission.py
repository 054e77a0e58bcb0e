"""Admission beside credits that are held for refunds: who waits, who is blocked, and which replay
is sent.
"""

from __future__ import annotations

from crucible_batch.core.events import Accepted, Failed, Succeeded
from crucible_batch.core.gateway_types import Account, LedgerEntry
from crucible_batch.core.prices import PriceBook
from tests.harness.job_events import held_event
from tests.unit.engine.desk import ERROR, D, Desk, W, again, desk, in_doubt, passed

BUDGET = "8"
OTHERS = (LedgerEntry("other", "reserve", D(1), job_id="other"),)


async def fail(at: Desk, name: str, price: str, *, found: bool = False) -> None:
    """An attempt of this run fails; its refund isn't listed."""
    held = held_event(price, at=7.0, price_class=W.price_class)
    accepted = Accepted(at=7.0, job_id=f"job-{name}", credits=D(price), reused=found)
    for event in (held, accepted, Failed(at=7.0, error=ERROR)):
        await at.accounting.record(name, event)
    at.admission.leave(name)


async def give_up(at: Desk) -> None:
    """The patience for refunds is over."""
    at.admission._reader._patience_s = 0.0
    await at.admission._reader.read()
    await passed()


async def test_a_purchase_that_does_not_fit_beside_a_refund_waits_out_the_patience() -> None:
    async with desk(BUDGET, prices=PriceBook(D(5))) as at:
        await fail(at, "fox", "5")
        assert await at.ask("owl") is None
        assert at.waits("owl")
        await give_up(at)
        assert not at.waits("owl")
        error = at.stop.stops[W.price_class]
    assert error.code == "REFUND_MISSING"
    assert (
        error.message
        == "the refund of 5 credits for job fox is not visible in the gateway's ledger"
    )


async def test_a_purchase_that_fits_beside_it_waits_for_no_refund() -> None:
    async with desk("10", prices=PriceBook(D(5))) as at:
        await fail(at, "fox", "5")
        held = await at.ask("owl")
        assert held is not None
        assert (held.credits, held.alone) == (5, False)


async def test_a_purchase_for_which_no_refund_makes_room_is_blocked_by_the_budget_at_once() -> None:
    async with desk("4", prices=PriceBook(D(5))) as at:
        await fail(at, "fox", "1")
        assert await at.ask("owl") is None
        assert at.stop.stops[W.price_class].code == "BUDGET_EXHAUSTED"


async def test_a_submit_in_doubt_that_does_not_fit_names_the_refunds_that_are_missing() -> None:
    async with desk(BUDGET, prices=PriceBook(D(5))) as at:
        job = in_doubt(at, "old", "2")
        await fail(at, "fox", "5")
        await give_up(at)
        error = await again(at, job)
    assert error is not None
    assert (error.code, "5 credits for job fox" in error.message) == ("REFUND_MISSING", True)


async def test_what_a_found_attempt_holds_blocks_no_replay_until_something_is_bought() -> None:
    """After the loss of a journal each submit may find an earlier purchase, at no cost."""
    async with desk(BUDGET, prices=PriceBook(D(5))) as at:
        await fail(at, "fox", "5", found=True)
        await at.admission._reader.read()
        assert at.admission.uncounted == 0  # an empty ledger shows nothing about it
        at.gateway.entries = OTHERS
        await at.admission._reader.read()
        assert at.admission.uncounted == 5
        held = await at.ask("owl")
        assert held is not None
        assert (held.credits, held.alone) == (8, True)
        await at.accounting.record(
            "owl", Accepted(at=7.0, job_id="job-owl", credits=D(5), reused=True)
        )
        at.admission.mark_compared("owl", D(5))
        await at.accounting.record("owl", Succeeded(at=7.0, outputs=1))
        at.admission.leave("owl")
        assert at.admission.uncounted == 5
        await fail(at, "elk", "1")
        assert at.admission.uncounted == 0


async def test_a_purchase_counts_what_a_found_attempt_holds() -> None:
    async with desk(BUDGET, prices=PriceBook(D(5))) as at:
        at.gateway.entries = OTHERS
        await fail(at, "new", "1")
        await fail(at, "fox", "5", found=True)
        await give_up(at)
        assert (at.admission.uncounted, await at.ask("owl")) == (0, None)
        assert at.stop.stops[W.price_class].code == "REFUND_MISSING"


class Crowded:
    """An account whose list others fill between any two readings."""

    def __init__(self) -> None:
        self.reads = 0

    async def account(self) -> Account:
        self.reads += 1
        entries = tuple(
            LedgerEntry(f"{self.reads}-{number}", "reserve", D(1)) for number in range(8)
        )
        return Account(D(100), D(0), D(100), entries)


async def test_after_a_gap_the_ledger_is_read_before_each_purchase() -> None:
    async with desk("100", prices=PriceBook(D(5))) as at:
        crowded = at.admission._reader._gateway = Crowded()  # type: ignore[assignment]
        await fail(at, "fox", "5")
        for _ in range(2):
            await at.admission.read_account()
        reads = []
        for name in ("a", "b", "c"):
            assert await at.ask(name) is not None
            reads.append(crowded.reads)
            await at.answer(name, "5", "5")
            await at.accounting.record(name, Succeeded(at=7.0, outputs=1))
            at.admission.leave(name)
        assert reads == [2, 3, 4]


async def test_a_reading_wakes_the_job_that_waits_for_a_refund() -> None:
    async with desk(BUDGET, prices=PriceBook(D(5))) as at:
        await fail(at, "fox", "5")
        assert await at.ask("owl") is None
        at.gateway.entries = (LedgerEntry("r", "refund", D(5), job_id="job-fox"),)
        await at.admission._reader.read()
        held = await at.got("owl")
        assert held is not None
        assert at.accounting.ledger.refunded == 5
