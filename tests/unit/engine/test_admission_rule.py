"""Admission by itself: whose credits are held, and who waits for whom."""

from __future__ import annotations

import asyncio

import pytest

from crucible_batch.core.budget import SlowStart
from crucible_batch.core.events import (
    Created,
    Event,
    Failed,
    HoldReleased,
    JobLost,
    Prepared,
    Refunded,
    Refused,
    Repriced,
    SubmitUnknown,
    Succeeded,
)
from crucible_batch.core.job import Job
from crucible_batch.core.outcome import IN_DOUBT
from crucible_batch.core.prices import PriceBook, Shape
from tests.harness.case_table import each_case
from tests.harness.job_events import accepted_event, held_event, intended_event
from tests.unit.engine.desk import ERROR, IMAGE, D, Desk, V, W, again, desk, in_doubt, passed

# -- alone


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


async def test_a_hold_names_all_that_a_later_run_has_to_know_of_it() -> None:
    async with desk(prices=PriceBook(D(4))) as at:
        job, shape = Job("a", has_images=True, attempt=2), Shape("workflow:w", "digest")
        held = await at.admission.hold(job, shape, missing=lambda: 0, claim=lambda: None)
        assert held == held_event(4, at=7.0, attempt=2, key=job.key, shape="digest", images=True)


async def test_a_hold_counts_for_other_decisions_before_it_is_journalled() -> None:
    async with desk("5", prices=PriceBook(D(4))) as at:
        job = Job("a", has_images=False)
        assert await at.admission.hold(job, W, missing=lambda: 0, claim=lambda: None) is not None
        assert (at.accounting.ledger.hold_of("a"), at.accounting.ledger.committed) == (4, 4)
        assert await at.ask("b") is None  # 5 credits are no room for two


@each_case("budget, is_admitted", [("52", True), ("51", False)])
async def test_until_its_record_is_read_a_job_counts_with_all_that_was_held_for_its_submit(
    budget: str, is_admitted: bool
) -> None:
    """20 of the 32 were left for the submit when its images were ready. The next job needs 32."""
    async with desk(budget) as at:
        at.accounting.ledger.prices.learn(W, D(2))
        at.admission._slow_start = SlowStart(5)
        held = await at.admission.hold(
            Job("a", has_images=True), W, missing=lambda: 0, claim=lambda: None
        )
        assert held is not None
        await at.accounting.record("a", held)
        await at.accounting.record(
            "a", Prepared(at=1.0, assets={"image.image": "as_1"}, credits=D(20))
        )
        await at.accept("a", "2")
        assert (await at.ask("b") is not None) == is_admitted


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
    """Declared ceilings bound every job; what is left of the budget has room for this one, and
    still it waits."""
    async with desk() as at:
        await at.know(W, "2")
        await at.know(W, "2")
        alone = await at.ask("unknown", V)
        assert alone is not None
        at.accounting.ledger.set_hold("unknown", D(1), alone=True)
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


# -- slow start


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
            await at.accounting.record(IMAGE, intended_event(16, "nobody"))
            await at.accounting.record(IMAGE, Created(at=1.0, asset_id="a", credits=D(price)))
        assert await at.ask("a") is not None
        assert await at.ask("b") is None


async def test_a_first_record_above_what_was_expected_is_a_surprise_too() -> None:
    async with desk() as at:
        await at.know(V, "2")
        await at.know(V, "2")
        at.accounting.ledger.prices.learn(W, D(2))  # by an earlier run
        await at.ask("a")
        await at.answer("a", "3")
        assert await at.ask("b", V) is not None
        assert await at.ask("c", V) is None


async def test_the_record_of_a_workflows_first_job_is_read_before_the_next_is_sent() -> None:
    async with desk() as at:
        await at.ask("a")
        await at.accept("a", "2")
        assert at.admission.needs_comparison("a")
        assert await at.ask("b") is None
        at.admission.mark_compared("a", D(2))
        assert await at.got("b") is not None
        await at.accept("b", "2")
        assert not at.admission.needs_comparison("b")


async def test_while_a_first_record_is_read_nothing_is_sent_also_at_a_known_price() -> None:
    async with desk() as at:
        at.accounting.ledger.prices.learn(W, D(2))  # by an earlier run
        assert await at.ask("a") is not None
        await at.accept("a", "2")
        assert await at.ask("b") is None
        at.admission.mark_compared("a", D(2))
        assert await at.got("b") is not None


async def test_where_a_first_record_could_not_be_read_that_of_the_next_is() -> None:
    async with desk() as at:
        await at.ask("a")
        await at.accept("a", "2")
        assert await at.ask("b") is None
        at.admission.leave("a")  # it is over
        assert await at.got("b") is not None
        await at.accept("b", "2")
        assert at.admission.needs_comparison("b")


async def test_the_first_job_of_each_shape_counts_at_its_bound_until_its_record_was_read() -> None:
    """The workflow's other records agree.

    Of three of another shape, answered at 1, none may have cost 16.
    """
    large = Shape("workflow:w", "large")
    async with desk("60") as at:
        for _ in range(4):
            await at.know(W, "1")
        for name in "abc":
            assert await at.ask(name, large) is not None
            await at.accept(name, "1")
            assert at.admission.needs_comparison(name)
        assert await at.ask("d", large) is None
        at.admission.mark_compared("a", D(1))
        assert await at.got("d") is not None


async def test_a_job_that_the_gateway_calls_known_is_compared_like_any_other() -> None:
    async with desk() as at:
        await at.ask("a")
        await at.accept("a", "2", reused=True)
        assert at.admission.needs_comparison("a")
        assert await at.ask("b") is None


async def test_a_record_above_its_answer_lets_submits_go_one_at_a_time_each_compared() -> None:
    async with desk() as at:
        await at.know(W, "2")
        await at.know(W, "2")
        at.admission.note_price_difference("first of w", W, D(2), D(3))
        assert await at.ask("a") is not None
        assert await at.ask("b") is None
        await at.accept("a", "2")
        assert at.admission.needs_comparison("a")
        assert await at.got("b") is None
        await at.accounting.record("a", Repriced(at=2.0, credits=D(3)))
        assert await at.got("b") is not None
        assert not at.stop.no_more


@each_case("recorded, ends", [("14", False), ("32", False), ("33", True)])
async def test_a_record_is_compared_with_the_bound_that_its_submit_went_on(
    recorded: str, ends: bool
) -> None:
    """The answer names too little for a shape that is new, whose bound was that of its workflow."""
    large, small = Shape("workflow:w", "large"), Shape("workflow:w", "small")
    async with desk() as at:
        await at.know(large, "2")
        held = await at.ask("a", small)
        assert held is not None
        assert held.credits == 32
        at.admission.note_price_difference(
            "first of w", large, D(2), D(3)
        )  # so each is compared from now on
        await at.accept("a", "0.1")
        at.admission.note_price_difference("a", small, D("0.1"), D(recorded))
        assert at.stop.no_more is ends


@pytest.mark.parametrize("recorded", ["1", "2"])
async def test_a_record_no_higher_than_its_answer_changes_nothing(recorded: str) -> None:
    async with desk() as at:
        await at.know(W, "2")
        at.admission.note_price_difference("first of w", W, D(2), D(recorded))
        assert await at.ask("a") is not None
        assert await at.ask("b") is not None


# -- a submit in doubt


async def test_a_submit_in_doubt_is_sent_again_on_what_it_may_cost_now() -> None:
    async with desk() as at:
        job = in_doubt(at, "old", "32")
        at.accounting.ledger.prices.learn(W, D(50))
        assert await again(at, job) is None
        assert at.accounting.ledger.hold_of("old") == 800


async def test_what_a_submit_in_doubt_holds_is_its_own_to_be_sent_again_on() -> None:
    async with desk("40") as at:
        job = in_doubt(at, "old", "32")
        at.accounting.ledger.prices.learn(W, D(2))
        assert await again(at, job) is None
        assert (at.accounting.ledger.hold_of("old"), at.admission.is_alone("old")) == (32, False)


async def test_a_submit_in_doubt_that_nothing_bounds_is_sent_again_alone() -> None:
    async with desk("40") as at:
        job = in_doubt(at, "old", "9", alone=True)
        assert await again(at, job) is None
        assert (at.accounting.ledger.hold_of("old"), at.admission.is_alone("old")) == (40, True)
        assert at.accounting.ledger.alone == {"old"}


async def test_a_submit_in_doubt_is_not_sent_again_in_a_run_that_is_to_stop() -> None:
    async with desk() as at:
        job = in_doubt(at, "old", "32")
        at.stop.end_buying(ERROR)
        assert await again(at, job) == ERROR


async def test_a_submit_in_doubt_never_holds_less_than_its_first_try_may_have_cost() -> None:
    async with desk() as at:
        job = in_doubt(at, "old", "500", alone=True)
        at.accounting.ledger.prices.learn(W, D(2))
        assert await again(at, job) is None
        assert (at.accounting.ledger.hold_of("old"), at.admission.is_alone("old")) == (500, False)


async def test_a_submit_in_doubt_that_no_longer_fits_is_not_sent() -> None:
    async with desk("40") as at:
        job = in_doubt(at, "old", "32")
        at.admission.add_resumed(
            Job("in flight")
        )  # which gives nothing back that could be waited for
        at.accounting.ledger.prices.learn(W, D(50))
        error = await again(at, job)
        assert error is not None
        assert (error.code, at.accounting.ledger.hold_of("old")) == ("BUDGET_EXHAUSTED", 32)
        assert at.stop.stops == {IN_DOUBT: error}
        assert not at.stop.blocked(W.price_class)  # a job that costs less may still fit


async def test_a_submit_in_doubt_waits_for_answers_of_others_and_not_for_jobs_in_flight() -> None:
    async with desk() as at:
        await at.know(W, "2")
        first, second, third = (in_doubt(at, name, "32") for name in ("old", "older", "oldest"))
        assert await again(at, first) is None
        assert await again(at, second) is None
        waiting = asyncio.ensure_future(at.admission.hold_again(third, W))
        await passed()
        assert not waiting.done()
        await at.accept("old", "2")
        assert await asyncio.wait_for(waiting, 60) is None


async def test_a_job_that_waits_for_the_credits_of_a_submit_in_doubt_does_not_block_it() -> None:
    """The job may come first: a submit in doubt waits at the gate of an outage that has ended for
    the others.
    """
    async with desk("10") as at:
        doubted = in_doubt(at, "old", "10", alone=True)
        assert await at.ask("a") is None
        assert at.waits("a")
        assert await again(at, doubted) is None
        await at.accept("old", "2")
        at.admission.mark_compared("old", D(2))
        assert (await at.got("a")) is not None


async def test_a_submit_in_doubt_that_asks_again_gives_way_to_the_next_one() -> None:
    """A price rose while it waited for its turn.

    Until it is admitted again, nobody waits for its answer.
    """
    async with desk() as at:
        first, second = in_doubt(at, "old", "32"), in_doubt(at, "older", "32")
        at.accounting.ledger.prices.learn(W, D(2))
        assert await again(at, first) is None
        waiting = asyncio.ensure_future(at.admission.hold_again(second, W))
        await passed()
        assert not waiting.done()
        once_more = asyncio.ensure_future(at.admission.hold_again(first, W))
        await passed()
        assert waiting.done() or once_more.done()
        for task in (waiting, once_more):
            task.cancel()


async def sent_again_beside_an_account(at: Desk) -> None:
    """A submit in doubt that holds 32 and is expected to cost 2 is sent again, after the account
    was read."""
    at.accounting.ledger.prices.learn(W, D(2))
    at.accounting.ledger.prices.learn(V, D(9))
    job = in_doubt(at, "old", "32")
    await at.admission.read_account()
    assert await again(at, job) is None


async def test_the_hold_of_a_submit_in_doubt_is_no_credit_of_the_account_once_sent_again() -> None:
    """Its hold is a bound of 32; it is expected to cost 2, so 8 of the account's 10 are left for
    others."""
    async with desk(account="10") as at:
        await sent_again_beside_an_account(at)
        at.admission._slow_start = SlowStart(5)
        assert await at.ask("b", V) is None
        assert at.waits("b")


async def test_a_submit_in_doubt_costs_the_account_its_price_once_it_is_answered() -> None:
    async with desk(account="10") as at:
        await sent_again_beside_an_account(at)
        await at.answer("old", "2", recorded="2")
        at.admission._slow_start = SlowStart(5)
        assert await at.ask("b", V) is None  # 8 of the account's 10 are left


async def test_a_submit_in_doubt_is_sent_whatever_the_account_shows() -> None:
    async with desk(account="0") as at:
        job = in_doubt(at, "old", "32")
        at.accounting.ledger.prices.learn(W, D(2))
        at.admission.close_account()
        assert await again(at, job) is None


# -- who is waited for


@each_case(
    "ended",
    [
        (HoldReleased(at=1.0, error=ERROR),),
        (Refused(at=1.0, error=ERROR),),
        (accepted_event(0, "a", reused=True), Failed(at=2.0, error=ERROR)),
    ],
)
async def test_one_that_holds_nothing_any_more_is_not_waited_for(ended: tuple[Event, ...]) -> None:
    async with desk("8", prices=PriceBook(D(5))) as at:
        assert await at.ask("a") is not None
        assert await at.ask("b") is None
        at.accounting.ledger.jobs += D(4)  # so that the next doesn't fit either
        for event in ended:
            await at.accounting.record("a", event)
        await passed()
        assert at.tasks["b"].done()
        assert at.stop.stops[W.price_class].code == "BUDGET_EXHAUSTED"


async def test_the_refund_of_a_job_in_flight_that_fails_is_waited_for() -> None:
    async with desk("8", prices=PriceBook(D(5))) as at:
        assert await at.ask("a") is not None
        await at.answer("a", "5")
        assert await at.ask("b") is None
        assert at.waits("b")
        await at.accounting.record("a", Failed(at=2.0, error=ERROR))
        at.admission.leave("a")
        assert await at.got("b") is None
        assert at.waits("b")
        await at.accounting.record("a", Refunded(at=3.0, attempt=1, credits=D(5), entry_id="e"))
        assert await at.got("b") is not None


@pytest.mark.parametrize(
    "event", [SubmitUnknown(at=1.0, error=ERROR), HoldReleased(at=1.0, error=ERROR)]
)
async def test_a_submit_that_has_ended_is_no_longer_unanswered(event: Event) -> None:
    async with desk(prices=PriceBook(D(4))) as at:
        assert await at.ask("a") is not None
        assert await at.ask("b") is None
        await at.accounting.record("a", event)
        assert await at.got("b") is not None


@each_case(
    "event",
    [Succeeded(at=1.0, outputs=1), JobLost(at=1.0, error=ERROR), Failed(at=1.0, error=ERROR)],
)
async def test_a_job_that_has_ended_needs_no_comparing(event: Event) -> None:
    async with desk() as at:
        assert await at.ask("a") is not None
        await at.accept("a", "2")
        assert await at.ask("b") is None
        await at.accounting.record("a", event)
        assert await at.got("b") is not None


async def test_a_job_does_not_wait_for_itself() -> None:
    async with desk("4", prices=PriceBook(D(5))) as at:
        at.admission.add_resumed(Job("a"))
        assert await at.ask("a") is None
        assert at.stop.stops[W.price_class].code == "BUDGET_EXHAUSTED"


async def test_a_job_that_leaves_makes_way() -> None:
    async with desk(prices=PriceBook(D(4))) as at:
        assert await at.ask("a") is not None
        assert await at.ask("b") is None
        at.admission.leave("a")
        assert await at.got("b") is not None
        at.admission.leave("a")
