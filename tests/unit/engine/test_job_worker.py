"""A job's commands by themselves, without a gateway: what is compared right before a submit, and
what answers mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from crucible_batch.core.events import (
    Accepted,
    Created,
    Held,
    HoldReleased,
    Prepared,
    SubmitUnknown,
)
from crucible_batch.core.gateway_types import JobSnapshot, JobStatus, Submission
from crucible_batch.core.identity import idempotency_key
from crucible_batch.core.job import Prepare, Submit
from crucible_batch.core.plan import InputImage
from crucible_batch.core.ports import BeforeSend
from crucible_batch.core.prices import UPLOAD, shape_of
from crucible_batch.errors import ExitCode, GatewayError, ObjectStoreError
from tests.harness.job_events import intended_event
from tests.unit.engine.worker_bench import ERROR, NO_ANSWER, Bench, leave_in_doubt

D = Decimal


# -- right before a submit


@pytest.mark.parametrize(("seen", "is_sent"), [("2", True), ("3", False)])
async def test_a_hold_that_a_price_has_outgrown_is_not_sent(seen: str, is_sent: bool) -> None:
    bench = Bench()
    bench.accounting.ledger.prices.learn(shape_of(bench.planned), D(2))
    await bench.hold()
    bench.accounting.ledger.prices.learn(shape_of(bench.planned), D(seen))
    event = await bench.do(Submit())
    assert isinstance(event, Accepted if is_sent else HoldReleased)
    assert bool(bench.gateway.submitted) is is_sent


async def test_nothing_is_sent_once_figures_above_their_holds_have_used_the_budget_up() -> None:
    bench = Bench("40")
    bench.accounting.ledger.prices.learn(shape_of(bench.planned), D(2))
    await bench.hold()
    bench.accounting.ledger.jobs += D(9)
    assert isinstance(await bench.do(Submit()), HoldReleased)
    assert not bench.gateway.submitted


async def test_a_submit_is_kept_back_in_a_run_that_is_to_stop() -> None:
    bench = Bench()
    await bench.hold()
    bench.stop.end_buying(ERROR)
    assert isinstance(await bench.do(Submit()), HoldReleased)
    assert not bench.gateway.submitted


async def test_a_submit_is_kept_back_if_the_check_right_before_it_stops_the_run() -> None:
    bench = Bench()
    await bench.hold()
    holds: list[Decimal] = []

    def check() -> None:
        holds.append(bench.accounting.ledger.hold_of("job"))
        bench.stop.end_buying(ERROR)

    bench.stop.before_purchase.append(check)
    assert isinstance(await bench.do(Submit()), HoldReleased)
    assert not bench.gateway.submitted
    assert holds[0] > 0  # what may be sent after the check is in the journal before it


async def test_a_worker_that_may_not_buy_holds_nothing() -> None:
    bench = Bench()
    assert await bench.ask_to_hold(may_buy=False) is None
    assert bench.accounting.ledger.committed == 0
    assert isinstance(await bench.ask_to_hold(may_buy=True), Held)


# -- a submit in doubt


@pytest.mark.parametrize("in_doubt", [False, True])
async def test_a_submit_is_sent_under_the_key_in_its_hold_and_no_other(in_doubt: bool) -> None:
    """Under another key the gateway would sell the job once more."""
    bench = Bench()
    if in_doubt:
        leave_in_doubt(bench, "32")
        bench.gateway.answer = NO_ANSWER
    else:
        await bench.hold()
    await bench.do(Submit())
    assert bench.gateway.submitted == [bench.job.current.key] == [idempotency_key("job", 1)]


async def test_a_submit_in_doubt_is_sent_again_only_where_a_risen_price_fits() -> None:
    bench = Bench("100")
    leave_in_doubt(bench, "32")
    bench.accounting.ledger.prices.learn(shape_of(bench.planned), D(200))
    event = await bench.do(Submit())
    assert isinstance(event, SubmitUnknown)
    assert (bench.gateway.submitted, bench.accounting.ledger.hold_of("job")) == ([], 32)


@pytest.mark.parametrize(
    ("answer", "held"), [(NO_ANSWER, 800), (GatewayError("no", code="NO", status=402), 32)]
)
async def test_a_submit_in_doubt_holds_what_it_may_cost_now_unless_this_try_bought_nothing(
    answer: GatewayError, held: int
) -> None:
    bench = Bench()
    leave_in_doubt(bench, "32")
    bench.accounting.ledger.prices.learn(shape_of(bench.planned), D(50))
    bench.gateway.answer = answer
    assert isinstance(await bench.do(Submit()), SubmitUnknown)
    assert bench.accounting.ledger.hold_of("job") == held


@pytest.mark.parametrize(("budget", "is_sent"), [("1000", True), ("40", False)])
async def test_a_price_that_rises_while_a_submit_in_doubt_waits_is_held_before_it_is_sent(
    budget: str, is_sent: bool
) -> None:
    bench, turns = Bench(budget), 0
    leave_in_doubt(bench, "32")
    bench.accounting.ledger.prices.learn(shape_of(bench.planned), D(2))
    bench.gateway.answer = NO_ANSWER

    async def turn(_slot: object) -> None:
        nonlocal turns
        turns += 1
        bench.accounting.ledger.prices.learn(shape_of(bench.planned), D(50))

    bench.turn = turn
    async with asyncio.timeout(60):  # it must not wait for its own answer
        assert isinstance(await bench.do(Submit()), SubmitUnknown)
    assert bool(bench.gateway.submitted) is is_sent
    assert (turns, bench.accounting.ledger.hold_of("job")) == ((2, 800) if is_sent else (1, 32))


async def test_a_submit_in_doubt_is_sent_though_others_cost_more_than_what_is_left() -> None:
    """Its hold is larger than what it may cost now, so it fits; asking for the hold again would
    change nothing."""
    bench = Bench("40")
    leave_in_doubt(bench, "32")
    bench.accounting.ledger.prices.learn(shape_of(bench.planned), D(1))
    bench.accounting.ledger.set_hold("another", D(16), alone=False)
    async with asyncio.timeout(60):
        await bench.do(Submit())
    assert bench.gateway.submitted


def refused_once(bench: Bench, meanwhile: Callable[[], None]) -> None:
    """Let the first try of a submit be refused, call ``meanwhile``, and let the next one be
    accepted."""

    async def submit(
        _workflow: str, _params: object, *, key: str, before_send: BeforeSend, before_retry: Any
    ) -> Any:
        before_send()
        bench.gateway.submitted.append(key)
        if len(bench.gateway.submitted) == 1:
            meanwhile()
            await before_retry(GatewayError("busy", code="RATE_LIMITED", status=429), 0.0)
            before_send()
            bench.gateway.submitted.append(key)
        return Submission("j", D(2), existing=False)

    bench.gateway.submit = submit  # type: ignore[method-assign]


async def test_a_submit_in_doubt_that_was_refused_now_is_not_sent_in_a_pause() -> None:
    """An earlier run may not have bought it, and this try bought nothing: to send it again may buy
    it.
    """
    bench = Bench()
    leave_in_doubt(bench, "32")
    bench.accounting.ledger.prices.learn(shape_of(bench.planned), D(2))
    refused_once(bench, bench.pause.suspend)
    sending = asyncio.ensure_future(bench.do(Submit()))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(bench.gateway.submitted) == 1
    bench.pause.suspend(False)
    async with asyncio.timeout(60):
        assert isinstance(await sending, Accepted)
    assert len(bench.gateway.submitted) == 2


async def test_a_submit_in_doubt_that_was_refused_now_is_not_sent_in_a_run_that_stops() -> None:
    bench = Bench()
    leave_in_doubt(bench, "32")
    bench.accounting.ledger.prices.learn(shape_of(bench.planned), D(2))
    refused_once(bench, lambda: bench.stop.wind_down(ExitCode.STOPPED, ERROR))
    async with asyncio.timeout(60):
        assert isinstance(await bench.do(Submit()), SubmitUnknown)
    assert len(bench.gateway.submitted) == 1
    assert bench.accounting.ledger.hold_of("job") == 32


async def test_one_alone_in_doubt_stays_alone_where_sending_it_again_bought_nothing() -> None:
    """No other may go alone beside it: the first try may have been charged any price."""
    bench = Bench()
    leave_in_doubt(bench, "32", alone=True)
    bench.accounting.ledger.prices.learn(shape_of(bench.planned), D(1))
    bench.gateway.answer = GatewayError("no", code="NO", status=402)
    assert isinstance(await bench.do(Submit()), SubmitUnknown)
    assert set(bench.accounting.ledger.alone) == {"job"}


async def test_after_a_402_nothing_more_is_bought() -> None:
    bench = Bench()
    await bench.hold()
    bench.gateway.answer = GatewayError("no", code="NO", status=402)
    assert isinstance(await bench.do(Submit()), HoldReleased)
    assert bench.admission._state_for("another").account_closed


@pytest.mark.parametrize("after_doubt", [False, True])
async def test_a_job_that_was_known_is_reused_unless_a_try_before_may_have_bought_it(
    after_doubt: bool,
) -> None:
    bench = Bench()
    await bench.hold()
    bench.gateway.answer = Submission("j", D(2), existing=True, after_doubt=after_doubt)
    event = await bench.do(Submit())
    assert (event.reused, event.earlier) == (not after_doubt, False)


async def test_a_job_that_an_earlier_run_may_have_bought_is_not_reused() -> None:
    bench = Bench()
    leave_in_doubt(bench, "32")
    bench.gateway.answer = Submission("j", D(2), existing=True)
    event = await bench.do(Submit())
    assert (event.reused, event.earlier) == (False, True)


@pytest.mark.parametrize(
    "record", [JobSnapshot("j", JobStatus.SUCCEEDED, D(2), workflow_id="other"), NO_ANSWER]
)
async def test_a_job_that_was_known_is_only_used_once_its_record_was_read_and_matches(
    record: Any,
) -> None:
    bench = Bench()
    held = await bench.hold()
    bench.gateway.answer, bench.gateway.record = Submission("j", D(2), existing=True), record
    event = await bench.do(Submit())
    assert isinstance(event, SubmitUnknown)
    await bench.record(event)
    assert bench.accounting.ledger.hold_of("job") == held.credits


# -- the images of a job


IMAGE = "asset:x"


async def _uploaded_for(bench: Bench, credits: str) -> None:
    intended = intended_event(16)
    await bench.accounting.record(IMAGE, intended)
    await bench.accounting.record(IMAGE, Created(at=1.0, asset_id="a", credits=D(credits)))


@pytest.mark.parametrize(("charged", "is_enough"), [("1", True), ("17", False)])
async def test_images_more_expensive_than_was_known_leave_no_job_that_is_held_below_its_bound(
    image: InputImage, charged: str, is_enough: bool
) -> None:
    bench = Bench(image=image)
    bench.accounting.ledger.prices.learn(shape_of(bench.planned), D(2))
    bench.accounting.ledger.prices.learn(UPLOAD, D(1))
    held = await bench.hold(images=1)
    assert held.credits == 16 * 3
    bench.uploading = lambda: _uploaded_for(bench, charged)
    event = await bench.do(Prepare())
    assert isinstance(event, Prepared if is_enough else HoldReleased)


async def test_one_that_is_alone_keeps_what_its_images_leave_as_long_as_the_expected_price_fits(
    image: InputImage,
) -> None:
    bench = Bench("30", image=image)
    bench.accounting.ledger.prices.learn(shape_of(bench.planned), D(2))
    bench.accounting.ledger.prices.learn(UPLOAD, D(1))
    held = await bench.hold(images=1)
    assert (held.credits, held.alone) == (30, True)
    bench.uploading = lambda: _uploaded_for(bench, "17")
    event = await bench.do(Prepare())
    assert isinstance(event, Prepared)
    assert event.credits == 13


# -- what an answer does not show


async def test_a_job_that_belongs_to_another_submit_does_not_end_the_doubt() -> None:
    bench = Bench()
    await bench.hold()
    bench.worker._context.owners.claim = lambda _job, _job_id: False  # type: ignore[method-assign]
    event = await bench.do(Submit())
    assert isinstance(event, SubmitUnknown)
    await bench.record(event)
    assert bench.accounting.ledger.held > 0


@pytest.mark.parametrize("fails", [False, True])
async def test_the_images_that_a_job_has_claimed_are_free_again_once_they_are_ready_or_have_failed(
    image: InputImage, fails: bool
) -> None:
    bench = Bench(image=image)
    released: list[str] = []
    bench.worker._context.assets.release = released.append  # type: ignore[method-assign]
    await bench.hold(images=1)
    if fails:
        bench.uploading = _no_store
    event = await bench.do(Prepare())
    assert isinstance(event, HoldReleased if fails else Prepared)
    assert released == ["job"]
    assert bench.stop.leaving.is_set() is fails  # every other job would meet it


async def _no_store() -> None:
    raise ObjectStoreError("no store", hint="")


async def test_a_job_claims_its_images_when_its_credits_are_held_and_not_before() -> None:
    bench, claimed = Bench(), list[str]()
    bench.stop.block(shape_of(bench.planned).price_class, ERROR)

    async def hold() -> Held | None:
        shape = shape_of(bench.planned)
        return await bench.admission.hold(
            bench.job, shape, missing=lambda: 0, claim=lambda: claimed.append("job")
        )

    assert (await hold(), claimed) == (None, [])
    bench.stop.stops.clear()
    assert (isinstance(await hold(), Held), claimed) == (True, ["job"])
