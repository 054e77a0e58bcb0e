"""Admission by itself: what ends the buying, and what the account has."""

from __future__ import annotations

import pytest

from crucible_batch.core.budget import SlowStart
from crucible_batch.core.events import (
    Created,
    Event,
    Failed,
    HoldReleased,
    Lost,
    NotCreated,
    Prepared,
)
from crucible_batch.core.job import Job
from crucible_batch.core.prices import PriceBook
from crucible_batch.engine.admission import Admission
from crucible_batch.engine.clock import SystemClock
from crucible_batch.errors import ExitCode, GatewayError, KeyRefusedError
from tests.harness.case_table import each_case
from tests.harness.job_events import accepted_event, held_event, intended_event
from tests.unit.engine.desk import ERROR, IMAGE, D, V, W, again, desk, in_doubt, passed
from tests.unit.engine.readings import reader_of

# -- what ends the buying


@pytest.mark.parametrize(("recorded", "ends"), [("32", False), ("33", True)])
async def test_a_record_beyond_the_bound_ends_all_buying(recorded: str, ends: bool) -> None:
    async with desk() as at:
        await at.ask("a")
        await at.answer("a", "2", recorded)
        assert [error.code for error in at.stop.stops.values()] == (["PRICE_ROSE"] if ends else [])
        assert at.stop.no_more is ends


@pytest.mark.parametrize(("charged", "ends"), [("4", False), ("5", True)])
async def test_an_answer_above_the_declared_ceiling_ends_all_buying(
    charged: str, ends: bool
) -> None:
    async with desk(prices=PriceBook(D(4))) as at:
        await at.ask("a")
        await at.answer("a", charged)
        assert [error.code for error in at.stop.stops.values()] == (
            ["PRICE_ABOVE_CEILING"] if ends else []
        )
        assert at.stop.no_more is ends


@pytest.mark.parametrize(("charged", "ends"), [("4", False), ("5", True)])
async def test_an_upload_above_the_declared_ceiling_ends_all_buying(
    charged: str, ends: bool
) -> None:
    async with desk(prices=PriceBook(None, D(4))) as at:
        await at.accounting.record(IMAGE, intended_event(4, "nobody"))
        await at.accounting.record(IMAGE, Created(at=1.0, asset_id="a", credits=D(charged)))
        assert at.stop.no_more is ends


@each_case(
    "event",
    [
        Created(at=1.0, asset_id="a", credits=D(5), assumed=True),
        NotCreated(at=1.0, error=ERROR),
        Lost(at=1.0, nonce="n"),
    ],
)
async def test_an_upload_whose_price_nobody_named_ends_nothing(event: Event) -> None:
    """Neither where the intent is an earlier run's."""
    async with desk(prices=PriceBook(None, D(4))) as at:
        at.accounting.ledger.apply(IMAGE, intended_event(4, "nobody"))
        await at.accounting.record(IMAGE, event)
        assert not at.stop.no_more


@each_case(
    "reused, earlier, ends", [(True, False, False), (False, True, False), (False, False, True)]
)
async def test_only_a_purchase_of_this_run_above_the_ceiling_ends_the_buying(
    reused: bool, earlier: bool, ends: bool
) -> None:
    """A job that was found again, or bought by an earlier run's try, was bought under the ceiling
    of that time."""
    async with desk(prices=PriceBook(D(4))) as at:
        await at.ask("a")
        event = accepted_event(9, "a", reused=reused, earlier=earlier)
        await at.accounting.record("a", event)
        assert at.stop.no_more is ends


async def test_a_run_that_is_to_stop_lets_nobody_wait() -> None:
    async with desk("100") as at:
        await at.ask("a")
        await at.ask("b")
        at.stop.wind_down(ExitCode.STOPPED, ERROR)
        await passed()
        assert at.tasks["b"].result() is None


async def test_a_disk_without_room_ends_the_buying() -> None:
    async with desk() as at:
        reader = reader_of(at.gateway, at.accounting, SystemClock())
        full = Admission(
            at.accounting, reader, at.stop, SystemClock(), pause=at.pause, shortage=lambda: ERROR
        )
        assert await full.hold(Job("a"), W, missing=lambda: 0, claim=lambda: None) is None
        assert (at.stop.reasons, list(at.stop.stops.values())) == ({ExitCode.STOPPED}, [ERROR])


async def test_no_further_job_of_a_blocked_workflow_is_asked_for_nor_waits() -> None:
    async with desk("8", prices=PriceBook(D(5))) as at:
        assert await at.ask("a") is not None
        at.stop.block(W.price_class, ERROR)
        assert await at.ask("b") is None
        assert not at.waits("b")


# -- the account


async def test_what_was_spent_while_the_account_was_read_is_gone_from_it() -> None:
    async with desk(account="15", prices=PriceBook(D(6))) as at:
        at.gateway.while_read = lambda: setattr(at.accounting.ledger, "jobs", D(5))
        assert await at.ask("a") is not None
        await at.answer("a", "6")
        at.gateway.while_read = lambda: None
        assert await at.ask("b") is None
        assert at.waits("b")


async def test_a_bound_that_is_held_takes_nothing_from_the_account() -> None:
    """Two may cost sixteen times as much as the account has; they are expected to cost 2 each."""
    async with desk(account="10") as at:
        await at.know(W, "2")
        assert await at.ask("a") is not None
        assert await at.ask("b") is not None


async def test_what_was_spent_before_the_account_was_read_is_not_taken_from_it_again() -> None:
    async with desk(account="10") as at:
        await at.know(W, "2")
        at.gateway.available = D(5)
        await at.admission.read_account()
        assert await at.ask("a") is not None
        assert await at.ask("b") is not None


@pytest.mark.parametrize(("account", "waits"), [("3", True), ("4", False)])
async def test_a_submit_in_doubt_takes_its_expected_cost_from_the_account_then_its_price(
    account: str, waits: bool
) -> None:
    async with desk(account=account) as at:
        at.admission._slow_start = SlowStart(5)
        job = in_doubt(at, "old", "500")
        at.accounting.ledger.prices.learn(W, D(2))
        await at.admission.read_account()
        assert await again(at, job) is None
        assert (await at.ask("a") is None) is waits
        await at.accounting.record("old", accepted_event(2, "old", earlier=True))
        assert at.waits("a") is waits


async def test_a_submit_in_doubt_that_is_not_sent_again_takes_nothing_from_the_account() -> None:
    """What an earlier run's submit may have cost was gone from the account before it was read."""
    async with desk(account="20", prices=PriceBook(D(4), D(1))) as at:
        job = in_doubt(at, "old", "32")
        await at.admission.read_account()
        at.admission.leave(job.identity)
        assert await at.ask("a", images=1) is not None
        assert at.gateway.reads == 1


HELD = held_event(1, price_class=V.price_class)
STALE: list[tuple[list[tuple[str, Event]], tuple[str, Event]]] = [
    ([("x", HELD)], ("x", accepted_event(1, "x"))),
    ([("x", HELD)], ("x", Prepared(at=1.0, assets={}, credits=D(1)))),
    (
        [(IMAGE, intended_event(1, "x"))],
        (IMAGE, Created(at=1.0, asset_id="a", credits=D(1))),
    ),
]


@pytest.mark.parametrize(
    ("before", "told"), STALE, ids=[type(told[1]).__name__ for _, told in STALE]
)
async def test_an_account_that_may_be_off_is_read_again_before_a_job_is_blocked_for_want_of_it(
    before: list[tuple[str, Event]], told: tuple[str, Event]
) -> None:
    async with desk(account="3", prices=PriceBook(D(4), D(1))) as at:
        for subject, event in before:
            at.accounting.ledger.apply(subject, event)
        await at.admission.read_account()
        await at.accounting.record(*told)
        at.gateway.available = D(100)
        assert await at.ask("a", images=1) is not None
        assert at.gateway.reads == 2


async def test_a_submit_that_ended_makes_the_figure_of_the_account_old() -> None:
    async with desk(account="3", prices=PriceBook(D(4), D(1))) as at:
        assert await at.ask("a") is not None
        await at.accounting.record("a", HoldReleased(at=1.0, error=ERROR))
        at.gateway.available = D(100)
        assert await at.ask("b", images=1) is not None


async def test_an_account_that_nothing_has_changed_is_not_read_again() -> None:
    async with desk(account="3", prices=PriceBook(D(4), D(1))) as at:
        assert await at.ask("a", images=1) is None
        assert (at.gateway.reads, at.stop.stops[W.price_class].code) == (1, "INSUFFICIENT_CREDITS")


async def test_submits_without_an_answer_count_in_the_account_at_their_expected_price() -> None:
    async with desk(account="13") as at:
        await at.know(W, "6")
        assert await at.ask("a") is not None
        assert await at.ask("b") is None
        assert at.waits("b")


async def test_the_account_is_read_once_and_again_before_a_job_is_blocked_for_want_of_it() -> None:
    async with desk(account="12", prices=PriceBook(D(6))) as at:
        await at.know(W, "6")
        assert at.gateway.reads == 1
        at.gateway.available = D(0)
        assert await at.ask("a", images=1) is None
        assert (at.gateway.reads, at.stop.stops[W.price_class].code) == (2, "INSUFFICIENT_CREDITS")


@pytest.mark.parametrize("is_key", [False, True])
async def test_an_account_that_cannot_be_read_stops_nobody_but_a_refused_key(is_key: bool) -> None:
    async with desk(prices=PriceBook(D(6))) as at:
        error = (KeyRefusedError if is_key else GatewayError)("down", code="X")
        at.gateway.available = error
        if is_key:
            with pytest.raises(KeyRefusedError):
                await at.admission.hold(Job("a"), W, missing=lambda: 0, claim=lambda: None)
        else:
            assert await at.ask("a") is not None


async def test_after_a_402_nobody_is_sent_until_a_refund() -> None:
    async with desk(prices=PriceBook(D(4))) as at:
        assert await at.ask("a") is not None
        await at.answer("a", "4")
        at.gateway.available = D(0)
        at.admission.close_account()
        assert await at.ask("b") is None
        assert (at.waits("b"), at.gateway.reads) == (True, 2)
        at.gateway.available = D(4)
        await at.accounting.record("a", Failed(at=2.0, error=ERROR))
        assert await at.got("b") is not None
        assert at.gateway.reads == 3


async def test_after_a_402_and_with_nobody_at_work_the_job_is_blocked() -> None:
    async with desk(prices=PriceBook(D(4))) as at:
        at.admission.close_account()
        assert await at.ask("a") is None
        assert at.stop.stops[W.price_class].code == "INSUFFICIENT_CREDITS"
