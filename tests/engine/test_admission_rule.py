"""Admission by itself, without a gateway: whose credits are held, who waits for whom, and what ends the buying."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from crucible_batch.core.answers import Account, ErrorInfo
from crucible_batch.core.events import (
    Accepted,
    Created,
    Declined,
    Event,
    Failed,
    Held,
    Intended,
    Refused,
    Repriced,
    Succeeded,
    Unanswered,
)
from crucible_batch.core.job import Job, replay, resumed
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import PriceBook, Shape
from crucible_batch.engine.admission import Admission
from crucible_batch.engine.books import Books
from crucible_batch.engine.clock import SystemClock
from crucible_batch.engine.stop import Stop
from crucible_batch.errors import ExitCode, GatewayError, KeyRefusedError

D = Decimal
W, V = Shape("workflow:w"), Shape("workflow:v")
ERROR = ErrorInfo("X", "x")
IMAGE = "asset:x"


class Gateway:
    """An account; ``while_read`` is done between the request for it and its answer."""

    def __init__(self, available: str) -> None:
        self.available: Decimal | GatewayError = D(available)
        self.reads = 0
        self.while_read: Callable[[], None] = lambda: None

    async def account(self) -> Account:
        self.reads += 1
        if isinstance(self.available, GatewayError):
            raise self.available
        shown = Account(self.available, D(0), self.available)
        self.while_read()
        return shown

    async def append(self, _subject: str, _event: Event) -> None:
        """Durable at once."""


@dataclass
class Desk:
    """An admission with its books. ``tasks`` are the holds that were asked for, by job."""

    gateway: Gateway
    books: Books
    stop: Stop
    admission: Admission
    tasks: dict[str, asyncio.Task[Held | None]] = field(default_factory=dict)

    async def ask(self, identity: str, shape: Shape = W, *, images: int = 0) -> Held | None:
        """Ask for a hold, and return it where it can be had now."""

        async def hold() -> Held | None:
            held = await self.admission.hold(Job(identity), shape, missing=lambda: images, claim=lambda: None)
            if held is not None:
                await self.books.record(identity, held)
            return held

        self.tasks[identity] = asyncio.create_task(hold())
        return await self.got(identity)

    async def got(self, identity: str) -> Held | None:
        """Return the hold that was asked for before, where there is one by now."""
        await passed()
        task = self.tasks[identity]
        return task.result() if task.done() else None

    def waits(self, identity: str) -> bool:
        return not self.tasks[identity].done()

    async def answer(self, identity: str, credits: str, recorded: str | None = None) -> None:
        """The submit is answered, and the job's record read where that is asked for."""
        await self.books.record(identity, Accepted(at=1.0, job_id=identity, credits=D(credits), reused=False))
        if self.admission.is_to_be_compared(identity):
            if recorded is not None:
                self.admission.figures_differ(W, D(credits), D(recorded))
            self.admission.compared(identity, D(credits), has_record=True)
        await passed()

    async def know(self, shape: Shape, price: str) -> None:
        """Have one job of a shape bought, its record read, and done."""
        name = f"first of {shape.name}"
        assert await self.ask(name, shape) is not None
        await self.answer(name, price)
        await self.books.record(name, Succeeded(at=2.0, outputs=1))
        self.admission.leave(name)


async def passed() -> None:
    """Let every task do what it can do now."""
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def desk(
    budget: str | None = "1000", *, account: str = "10000", prices: PriceBook | None = None
) -> AsyncIterator[Desk]:
    gateway, stop = Gateway(account), Stop()
    books = Books(gateway, Ledger(prices), None if budget is None else D(budget))
    admission = Admission(books, gateway, stop, SystemClock())  # type: ignore[arg-type] # all that it asks is the account
    stop.on_change.append(admission.wake)
    made = Desk(gateway, books, stop, admission)
    try:
        yield made
    finally:
        for task in made.tasks.values():
            task.cancel()


def in_doubt(desk: Desk, identity: str, credits: str, *, alone: bool = False) -> Job:
    """A submit of an earlier run that was never answered."""
    job = Job(identity)
    held = Held(at=0.0, attempt=1, key=job.key, credits=D(credits), price_class=W.price_class, alone=alone)
    desk.books.ledger.apply(identity, held)
    taken = resumed(replay(job, [held]))
    desk.admission.take_up(taken)
    return taken


# -- alone ------------------------------------------------------------------------------------------------------------


async def test_the_first_of_an_unknown_price_holds_all_and_nobody_is_sent_beside_it() -> None:
    async with desk("100") as at:
        first = await at.ask("a")
        assert first is not None
        assert (first.credits, first.alone, at.admission.is_alone("a")) == (100, True, True)
        assert await at.ask("b") is None
        await at.answer("a", "2")
        second = await at.got("b")
        assert second is not None
        assert (second.credits, second.alone, at.admission.is_alone("a")) == (32, False, False)


async def test_one_that_nothing_bounds_waits_for_the_answers_of_all_others() -> None:
    async with desk() as at:
        await at.know(W, "2")
        assert await at.ask("a") is not None
        assert await at.ask("unknown", V) is None
        await at.answer("a", "2")
        held = await at.got("unknown")
        assert held is not None
        assert held.alone


async def test_no_other_is_sent_beside_one_alone_even_where_there_is_room_for_it() -> None:
    """Declared ceilings bound every job; what is left of the budget has room for this one, and still it waits."""
    async with desk() as at:
        await at.know(W, "2")
        await at.know(W, "2")
        alone = await at.ask("unknown", V)
        assert alone is not None
        at.books.ledger.set_hold("unknown", D(1), alone=True)
        assert await at.ask("b") is None
        await at.answer("unknown", "3")
        assert await at.got("b") is not None


async def test_one_that_nothing_bounds_is_not_sent_while_another_such_is_in_doubt() -> None:
    async with desk("100") as at:
        job = in_doubt(at, "old", "1", alone=True)
        assert await at.ask("new") is None
        assert at.waits("new")
        at.admission.leave(job.identity)
        await passed()
        assert not at.waits("new")
        assert at.stop.stops[W.price_class].code == "BUDGET_EXHAUSTED"


# -- slow start -------------------------------------------------------------------------------------------------------


async def test_how_many_are_unanswered_doubles_and_begins_again_at_a_surprise() -> None:
    async with desk() as at:
        await at.know(W, "2")
        for name in "abcdefg":
            await at.ask(name)
        assert [at.waits(name) for name in "abcdefg"] == [False] * 2 + [True] * 5
        await at.answer("a", "2")
        assert [at.waits(name) for name in "abcdefg"] == [False] * 5 + [True] * 2
        await at.answer("b", "3")
        await at.answer("c", "3")
        assert [at.waits(name) for name in "fg"] == [True, True]
        await at.answer("d", "3")
        await at.answer("e", "3")
        assert [at.waits(name) for name in "fg"] == [False, True]
        await at.answer("f", "3")
        assert not at.waits("g")


async def test_an_upload_above_what_was_expected_is_a_surprise_too() -> None:
    async with desk() as at:
        await at.know(W, "2")
        await at.know(W, "2")
        for price in ("1", "5"):
            await at.books.record(IMAGE, Intended(at=1.0, nonce="n", credits=D(16), payer="nobody"))
            await at.books.record(IMAGE, Created(at=1.0, asset_id="a", credits=D(price)))
        assert await at.ask("a") is not None
        assert await at.ask("b") is None


async def test_the_record_of_a_workflows_first_job_is_read_before_the_next_is_sent() -> None:
    async with desk() as at:
        await at.ask("a")
        await at.books.record("a", Accepted(at=1.0, job_id="a", credits=D(2), reused=False))
        assert at.admission.is_to_be_compared("a")
        assert await at.ask("b") is None
        at.admission.compared("a", D(2), has_record=True)
        assert await at.got("b") is not None
        await at.books.record("b", Accepted(at=1.0, job_id="b", credits=D(2), reused=False))
        assert not at.admission.is_to_be_compared("b")


async def test_while_a_first_record_is_read_nothing_else_is_sent_also_where_the_price_is_known() -> None:
    async with desk() as at:
        at.books.ledger.prices.learn(W, D(2))  # by an earlier run
        assert await at.ask("a") is not None
        await at.books.record("a", Accepted(at=1.0, job_id="a", credits=D(2), reused=False))
        assert await at.ask("b") is None
        at.admission.compared("a", D(2), has_record=True)
        assert await at.got("b") is not None


async def test_where_a_first_record_could_not_be_read_that_of_the_next_is() -> None:
    async with desk() as at:
        await at.ask("a")
        await at.books.record("a", Accepted(at=1.0, job_id="a", credits=D(2), reused=False))
        at.admission.compared("a", D(2), has_record=False)
        assert await at.ask("b") is not None
        await at.books.record("b", Accepted(at=1.0, job_id="b", credits=D(2), reused=False))
        assert at.admission.is_to_be_compared("b")


async def test_a_record_above_its_answer_lets_submits_go_one_at_a_time_each_compared() -> None:
    async with desk() as at:
        await at.know(W, "2")
        await at.know(W, "2")
        at.admission.figures_differ(W, D(2), D(3))
        assert await at.ask("a") is not None
        assert await at.ask("b") is None
        await at.books.record("a", Accepted(at=1.0, job_id="a", credits=D(2), reused=False))
        assert at.admission.is_to_be_compared("a")
        assert await at.got("b") is None
        await at.books.record("a", Repriced(at=2.0, credits=D(3)))
        assert await at.got("b") is not None
        assert not at.stop.no_more


async def test_a_record_below_its_answer_changes_nothing() -> None:
    async with desk() as at:
        await at.know(W, "2")
        at.admission.figures_differ(W, D(2), D(1))
        assert await at.ask("a") is not None
        assert await at.ask("b") is not None


# -- what ends the buying ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("recorded", "ends"), [("32", False), ("33", True)])
async def test_a_record_beyond_the_bound_ends_all_buying(recorded: str, ends: bool) -> None:
    async with desk() as at:
        await at.ask("a")
        await at.answer("a", "2", recorded)
        assert at.stop.no_more is ends


@pytest.mark.parametrize(("charged", "ends"), [("4", False), ("5", True)])
async def test_an_answer_above_the_declared_ceiling_ends_all_buying(charged: str, ends: bool) -> None:
    async with desk(prices=PriceBook(D(4))) as at:
        await at.ask("a")
        await at.answer("a", charged)
        assert at.stop.no_more is ends


@pytest.mark.parametrize(("charged", "ends"), [("4", False), ("5", True)])
async def test_an_upload_above_the_declared_ceiling_ends_all_buying(charged: str, ends: bool) -> None:
    async with desk(prices=PriceBook(None, D(4))) as at:
        await at.books.record(IMAGE, Intended(at=1.0, nonce="n", credits=D(4), payer="nobody"))
        await at.books.record(IMAGE, Created(at=1.0, asset_id="a", credits=D(charged)))
        assert at.stop.no_more is ends


async def test_a_job_that_was_found_again_says_nothing_of_the_ceiling_nor_of_its_record() -> None:
    async with desk(prices=PriceBook(D(4))) as at:
        await at.ask("a")
        await at.books.record("a", Accepted(at=1.0, job_id="a", credits=D(9), reused=True))
        assert not at.stop.no_more
        assert not at.admission.is_to_be_compared("a")


async def test_a_run_that_is_to_stop_lets_nobody_wait() -> None:
    async with desk("100") as at:
        await at.ask("a")
        await at.ask("b")
        at.stop.wind_down(ExitCode.STOPPED, ERROR)
        await passed()
        assert at.tasks["b"].result() is None


async def test_a_disk_without_room_ends_the_buying() -> None:
    async with desk() as at:
        full = Admission(at.books, at.gateway, at.stop, SystemClock(), lambda: ERROR)  # type: ignore[arg-type]
        assert await full.hold(Job("a"), W, missing=lambda: 0, claim=lambda: None) is None
        assert at.stop.no_more


# -- a submit in doubt ------------------------------------------------------------------------------------------------


async def again(at: Desk, job: Job) -> ErrorInfo | None:
    return await asyncio.wait_for(at.admission.hold_again(job, W), 5)


async def test_a_submit_in_doubt_is_sent_again_on_what_it_may_cost_now() -> None:
    async with desk() as at:
        job = in_doubt(at, "old", "32")
        at.books.ledger.prices.learn(W, D(50))
        assert await again(at, job) is None
        assert at.books.ledger.hold_of("old") == 800
        at.admission.restore_hold("old", D(32), alone=False)
        assert at.books.ledger.hold_of("old") == 32


async def test_a_submit_in_doubt_never_holds_less_than_its_first_try_may_have_cost() -> None:
    async with desk() as at:
        job = in_doubt(at, "old", "500", alone=True)
        at.books.ledger.prices.learn(W, D(2))
        assert await again(at, job) is None
        assert (at.books.ledger.hold_of("old"), at.admission.is_alone("old")) == (500, False)


async def test_a_submit_in_doubt_that_no_longer_fits_is_not_sent() -> None:
    async with desk("40") as at:
        job = in_doubt(at, "old", "32")
        at.books.ledger.prices.learn(W, D(50))
        error = await again(at, job)
        assert error is not None
        assert (error.code, at.books.ledger.hold_of("old")) == ("BUDGET_EXHAUSTED", 32)


async def test_a_submit_in_doubt_waits_for_the_answers_of_others_and_not_for_jobs_in_flight() -> None:
    async with desk() as at:
        await at.know(W, "2")
        first, second, third = (in_doubt(at, name, "32") for name in ("old", "older", "oldest"))
        assert await again(at, first) is None
        assert await again(at, second) is None
        waiting = asyncio.ensure_future(at.admission.hold_again(third, W))
        await passed()
        assert not waiting.done()
        await at.books.record("old", Accepted(at=1.0, job_id="old", credits=D(2), reused=False))
        assert await asyncio.wait_for(waiting, 5) is None


async def test_a_submit_in_doubt_is_sent_whatever_the_account_shows() -> None:
    async with desk(account="0") as at:
        job = in_doubt(at, "old", "32")
        at.books.ledger.prices.learn(W, D(2))
        at.admission.close_account()
        assert await again(at, job) is None


# -- who is waited for ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ended",
    [
        (Declined(at=1.0, error=ERROR),),
        (Refused(at=1.0, error=ERROR),),
        (Accepted(at=1.0, job_id="a", credits=D(0), reused=True), Failed(at=2.0, error=ERROR)),
    ],
    ids=lambda events: type(events[-1]).__name__,
)
async def test_one_that_holds_nothing_any_more_is_not_waited_for(ended: tuple[Event, ...]) -> None:
    async with desk("8", prices=PriceBook(D(5))) as at:
        assert await at.ask("a") is not None
        assert await at.ask("b") is None
        at.books.ledger.jobs += D(4)  # so that the next doesn't fit either
        for event in ended:
            await at.books.record("a", event)
        await passed()
        assert at.tasks["b"].done()
        assert at.stop.stops[W.price_class].code == "BUDGET_EXHAUSTED"


async def test_a_job_in_flight_that_may_fail_is_waited_for() -> None:
    async with desk("8", prices=PriceBook(D(5))) as at:
        assert await at.ask("a") is not None
        await at.answer("a", "5")
        assert await at.ask("b") is None
        assert at.waits("b")
        await at.books.record("a", Failed(at=2.0, error=ERROR))
        assert await at.got("b") is not None


@pytest.mark.parametrize("event", [Unanswered(at=1.0, error=ERROR), Declined(at=1.0, error=ERROR)])
async def test_a_submit_that_has_ended_is_no_longer_unanswered(event: Event) -> None:
    async with desk(prices=PriceBook(D(4))) as at:
        assert await at.ask("a") is not None
        assert await at.ask("b") is None
        await at.books.record("a", event)
        assert await at.got("b") is not None


async def test_a_job_that_leaves_makes_way() -> None:
    async with desk(prices=PriceBook(D(4))) as at:
        assert await at.ask("a") is not None
        assert await at.ask("b") is None
        at.admission.leave("a")
        assert await at.got("b") is not None
        at.admission.leave("a")


# -- the account ------------------------------------------------------------------------------------------------------


async def test_what_was_spent_while_the_account_was_read_is_gone_from_it() -> None:
    async with desk(account="15", prices=PriceBook(D(6))) as at:
        at.gateway.while_read = lambda: setattr(at.books.ledger, "jobs", D(5))
        assert await at.ask("a") is not None
        await at.answer("a", "6")
        at.gateway.while_read = lambda: None
        assert await at.ask("b") is None
        assert at.waits("b")


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
        at.admission.close_account()
        assert await at.ask("b") is None
        assert at.waits("b")
        await at.books.record("a", Failed(at=2.0, error=ERROR))
        assert await at.got("b") is not None


async def test_after_a_402_and_with_nobody_at_work_the_job_is_blocked() -> None:
    async with desk(prices=PriceBook(D(4))) as at:
        at.admission.close_account()
        assert await at.ask("a") is None
        assert at.stop.stops[W.price_class].code == "INSUFFICIENT_CREDITS"
