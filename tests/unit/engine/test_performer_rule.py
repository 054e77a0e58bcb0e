"""A job's commands by themselves, without a gateway: what is compared right before a submit, and what answers mean."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from crucible_batch.domain.asset import Asset
from crucible_batch.domain.attempt import Attempt
from crucible_batch.domain.events import (
    Accepted,
    Created,
    Event,
    Held,
    HoldReleased,
    Intended,
    JobLost,
    Listed,
    Lost,
    Prepared,
    Repriced,
    Saved,
    Settled,
    SubmitUnknown,
    Succeeded,
)
from crucible_batch.domain.gateway_types import (
    Account,
    AssetSnapshot,
    AssetStatus,
    ErrorInfo,
    JobSnapshot,
    JobStatus,
    Submission,
    UploadIntent,
)
from crucible_batch.domain.identity import idempotency_key
from crucible_batch.domain.job import Command, Fetch, Hold, Job, Poll, Prepare, RecheckOutputs, Submit, evolve, replay
from crucible_batch.domain.ledger import Ledger
from crucible_batch.domain.outage import Outage
from crucible_batch.domain.plan import InputImage, PlannedJob
from crucible_batch.domain.ports import BeforeSend
from crucible_batch.domain.prices import UPLOAD, PriceBook, shape_of
from crucible_batch.domain.resuming import resume_job
from crucible_batch.engine.admission import Admission
from crucible_batch.engine.clock import SystemClock
from crucible_batch.engine.job_records import PriceRecords
from crucible_batch.engine.job_worker import JobWorker, _NotSent
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.pause import Pause
from crucible_batch.engine.purchase_gate import PurchaseGate
from crucible_batch.engine.recovery import Recovery
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.engine.slots import Slot
from crucible_batch.engine.uploads import AssetFailed, AssetUploader
from crucible_batch.errors import ExitCode, GatewayError
from crucible_batch.input_images import read_input
from tests.unit.domain.histories import saved

D = Decimal
IMAGE = "asset:x"
ERROR = ErrorInfo("X", "x")
NO_ANSWER = GatewayError("no answer", code="NO_ANSWER", in_doubt=True)


class Gateway:
    """Answers as it is told to; ``submitted`` are the keys that were sent."""

    def __init__(self) -> None:
        self.answer: Submission | GatewayError = Submission("j", D(2), existing=False)
        self.record: JobSnapshot | GatewayError = JobSnapshot("j", JobStatus.SUCCEEDED, D(2))
        self.unknown = 0
        """So many looks the job is not known yet."""
        self.submitted: list[str] = []
        self.deleted: list[str] = []

    async def account(self) -> Account:
        return Account(D(10_000), D(0), D(10_000))

    async def append(self, _subject: str, _event: Event) -> None:
        """Durable at once."""

    async def submit(
        self, _workflow_id: str, _params: object, *, key: str, before_send: BeforeSend, before_retry: object
    ) -> Submission:
        before_send()
        self.submitted.append(key)
        return _given(self.answer)

    async def job(self, _job_id: str, **_before_retry: object) -> JobSnapshot:
        if self.unknown:
            self.unknown -= 1
            raise GatewayError("not found", code="JOB_NOT_FOUND", status=404)
        return _given(self.record)


class Clock(SystemClock):
    """A clock on which nobody waits."""

    async def sleep(self, _seconds: float) -> None:
        """No time passes."""


def _given(answer: Any) -> Any:
    if isinstance(answer, GatewayError):
        raise answer
    return answer


async def _nothing(*_args: object, **_named: object) -> None:
    """Nobody is waited for."""


def _ignored(*_args: object) -> None:
    """Nothing comes of it."""


class Bench:
    """A performer of one job in a world of its own: accounting, admission and stop are the product's."""

    def __init__(self, budget: str = "1000", prices: PriceBook | None = None, image: InputImage | None = None) -> None:
        self.gateway, self.stop = Gateway(), Shutdown()
        self.accounting = JournaledLedger(self.gateway, Ledger(prices), D(budget))
        clock = Clock()
        self.pause = Pause(self.stop, clock, nullcontext)
        self.admission = Admission(self.accounting, self.gateway, self.stop, clock, pause=self.pause)  # type: ignore[arg-type]
        self.pause.on_change.append(self.admission.wake)
        self.planned = PlannedJob(0, "job", "job", "w", {}, images={} if image is None else {"image": image})
        self.job = Job("job", has_images=image is not None)
        self.uploading: Callable[[], Awaitable[None]] = _nothing
        self.records = PriceRecords()
        self.turn: Callable[[Slot], Awaitable[None]] = _nothing
        self.failing: GatewayError | None = None
        self.outage = Outage()
        self.key_is_old = False

        async def ready(_image: InputImage, *, payer: str) -> str:
            await self.uploading()
            return f"asset of {payer}"

        async def until_ended(*_args: object, **_named: object) -> JobSnapshot:
            return await self.gateway.job("j")

        world = SimpleNamespace(
            gateway=self.gateway,
            accounting=self.accounting,
            admission=self.admission,
            assets=SimpleNamespace(
                ready=ready, release=_ignored, look_up=_nothing, missing=lambda *_asked: 0, claim=_ignored
            ),
            poller=SimpleNamespace(until_ended=until_ended, read=self.gateway.job),
            fetcher=SimpleNamespace(seen=lambda _snapshot: None, fetch=self.fetching),
            lister=SimpleNamespace(look=self.looking),
            records=self.records,
            stop=self.stop,
            slots=SimpleNamespace(
                wait_for_turn=self.take_turn,
                accepted=_ignored,
                left_gateway=_ignored,
                found_at_gateway=_ignored,
                refused=_ignored,
                lend=_nothing,
                too_many=False,
            ),
            clock=clock,
            gone_workflows={},
            gate=PurchaseGate(self.gateway, self.outage, self.pause, self.stop, clock),  # type: ignore[arg-type]
            recovery=Recovery(self.stop, wanted=False),
            owners=SimpleNamespace(claim=lambda _job, _job_id: True),
            is_forgotten=lambda _job: self.key_is_old,
        )
        self.performer = JobWorker(world, self.planned, Slot())  # type: ignore[arg-type]

    async def ask_to_hold(self, *, may_buy: bool) -> Any:
        """Perform the first command of the job with a worker that may buy it, or not."""
        worker = JobWorker(self.performer._context, self.planned, Slot(), may_buy=may_buy)
        return await worker.perform(self.job, Hold())

    async def take_turn(self, slot: Slot) -> None:
        await self.turn(slot)

    async def looking(self, job: Job, _job_id: str) -> Listed:
        """Look at the job's list again, as the product does it."""
        self.records.note(await self.gateway.job("j"))
        return Listed(at=1.0, numbers=job.numbers or ())

    async def fetching(self, *_args: object, **_options: object) -> Saved:
        """Have an output, for which a fresh link was read."""
        self.records.note(await self.gateway.job("j"))
        if self.failing is not None:
            raise self.failing
        return saved(0)

    async def record(self, event: Event) -> None:
        await self.accounting.record("job", event)
        self.job = evolve(self.job, event)  # type: ignore[arg-type]

    async def hold(self, images: int = 0) -> Held:
        shape = shape_of(self.planned)
        held = await self.admission.hold(self.job, shape, missing=lambda: images, claim=lambda: None)
        assert held is not None
        await self.record(held)
        return held

    async def is_tried_again(self, error: GatewayError) -> bool:
        """Whether a submit is sent again after a try that ended with this error."""
        await self.performer._before_retry(error, 0.0)
        try:
            self.performer._before_send(self.job)
        except _NotSent:
            return False
        return True

    async def do(self, command: Submit | Poll | Prepare) -> Any:
        return await self.performer.perform(self.job, command)


# -- right before a submit --------------------------------------------------------------------------------------------


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


# -- a submit in doubt ------------------------------------------------------------------------------------------------


def leave_in_doubt(bench: Bench, credits: str, *, alone: bool = False) -> None:
    held = Held(at=0.0, attempt=1, key=bench.job.key, credits=D(credits), price_class="workflow:w", alone=alone)
    bench.accounting.ledger.apply("job", held)
    bench.job = resume_job(replay(bench.job, [held]))
    bench.admission.add_resumed(bench.job)


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


@pytest.mark.parametrize(("answer", "held"), [(NO_ANSWER, 800), (GatewayError("no", code="NO", status=402), 32)])
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
async def test_a_price_that_rises_while_a_submit_in_doubt_waits_for_its_turn_is_held_before_it_is_sent(
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


async def test_a_submit_in_doubt_is_sent_where_others_were_charged_more_than_the_rest_of_the_budget() -> None:
    """Its hold is larger than what it may cost now, so it fits; asking for the hold again would change nothing."""
    bench = Bench("40")
    leave_in_doubt(bench, "32")
    bench.accounting.ledger.prices.learn(shape_of(bench.planned), D(1))
    bench.accounting.ledger.set_hold("another", D(16), alone=False)
    async with asyncio.timeout(60):
        await bench.do(Submit())
    assert bench.gateway.submitted


def refused_once(bench: Bench, meanwhile: Callable[[], None]) -> None:
    """Let the first try of a submit be refused, call ``meanwhile``, and let the next one be accepted."""

    async def submit(_workflow: str, _params: object, *, key: str, before_send: BeforeSend, before_retry: Any) -> Any:
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
    """An earlier run may not have bought it, and this try bought nothing: to send it again may buy it."""
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


@pytest.mark.parametrize("after_doubt", [False, True])
async def test_a_job_that_was_known_is_reused_unless_a_try_before_may_have_bought_it(after_doubt: bool) -> None:
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


# -- the images of a job ----------------------------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path: Path) -> InputImage:
    Image.new("RGB", (8, 8), "teal").save(tmp_path / "a.png")
    return read_input(tmp_path / "a.png")


async def _uploaded_for(bench: Bench, credits: str) -> None:
    intended = Intended(at=1.0, nonce="n", credits=D(16), payer="job")
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


# -- a job's own record -----------------------------------------------------------------------------------------------


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
    assert first == Repriced(at=first.at, credits=D(5), settled=Settled(D(2), shape.price_class, shape.digest))
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


@pytest.mark.parametrize(("status", "differs"), [(JobStatus.SUCCEEDED, D(1)), (JobStatus.FAILED, None)])
def test_a_lower_record_counts_only_of_a_job_that_has_succeeded(status: JobStatus, differs: Decimal | None) -> None:
    records = PriceRecords()
    records.note(JobSnapshot("j", status, D(1)))
    assert records.differing(Attempt(1, "k", 0.0, job_id="j", credits=D(2))) == differs


async def test_a_submit_whose_record_cannot_be_read_counts_as_unanswered_until_the_job_is_over() -> None:
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
    bench.gateway.unknown = 3
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


@pytest.mark.parametrize(("code", "is_lost"), [("JOB_NOT_FOUND", True), ("HTTP_404", False)])
async def test_only_the_gateway_itself_can_say_that_it_no_longer_knows_a_job(code: str, is_lost: bool) -> None:
    """A 404 that is a page of something in front of the gateway proves nothing."""
    bench = Bench()
    await _accepted(bench)
    bench.gateway.record = GatewayError("not found", code=code, status=404)
    if is_lost:
        assert isinstance(await bench.do(Poll("j")), JobLost)
    else:
        with pytest.raises(GatewayError):
            await bench.do(Poll("j"))


# -- uploads ----------------------------------------------------------------------------------------------------------


class Storage(Gateway):
    """A gateway whose storage answers each upload with a status."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status
        self.created = 0

    async def assets(self) -> list[AssetSnapshot]:
        return []

    async def create_asset(self, _spec: object, *, nonce: str, before_send: BeforeSend) -> UploadIntent:
        before_send()
        self.created += 1
        return UploadIntent(f"a{self.created}", f"https://storage/{nonce}", D(1))

    async def upload(self, _intent: UploadIntent, _spec: object, _content: bytes) -> None:
        raise GatewayError("refused", code=f"HTTP_{self.status}", status=self.status)

    async def asset(self, asset_id: str) -> AssetSnapshot:
        return AssetSnapshot(asset_id, AssetStatus.PENDING, 1)

    async def delete_asset(self, asset_id: str) -> Decimal:
        self.deleted.append(asset_id)
        return D(1)


@pytest.mark.parametrize(("status", "deleted"), [(403, ["a1", "a2"]), (429, []), (503, [])])
async def test_an_upload_is_given_back_only_where_the_storage_refuses_it(
    image: InputImage, status: int, deleted: list[str]
) -> None:
    """A storage that asks for less may take it later: what was paid for is not thrown away."""
    storage = Storage(status)
    accounting = JournaledLedger(storage, Ledger(), D(100))
    held = Held(at=0.0, attempt=1, key="k", credits=D(40), price_class="workflow:w", images=True, alone=True)
    accounting.ledger.apply("job", held)
    desk = AssetUploader(
        storage,  # type: ignore[arg-type]
        accounting,
        SystemClock(),
        past=Asset,
        nonce=lambda: "n",
        observe=lambda _image, _event: None,
    )
    await desk.look_up([image])
    with pytest.raises((AssetFailed, GatewayError), match="refused" if not deleted else "uploaded 2 times"):
        await desk.ready(image, payer="job")
    assert storage.deleted == deleted


class Forgetful(Storage):
    """A gateway whose answer to an intent is lost, and that lists an asset with its nonce in a given state."""

    def __init__(self, status: AssetStatus) -> None:
        super().__init__(503)
        self.listed_as = status

    async def create_asset(self, _spec: object, *, nonce: str, before_send: BeforeSend) -> UploadIntent:
        before_send()
        self.created += 1
        raise NO_ANSWER

    async def assets(self) -> list[AssetSnapshot]:
        return [AssetSnapshot("a1", self.listed_as, 1, nonce="n")] if self.created else []


@pytest.mark.parametrize(
    ("status", "kind"), [(AssetStatus.READY, Created), (AssetStatus.PENDING, Created), (AssetStatus.DELETED, Lost)]
)
async def test_a_lost_upload_is_found_by_its_nonce_unless_it_was_deleted(
    image: InputImage, status: AssetStatus, kind: type[Event]
) -> None:
    storage = Forgetful(status)
    accounting = JournaledLedger(storage, Ledger(), D(100))
    uploader = AssetUploader(
        storage,  # type: ignore[arg-type]
        accounting,
        Clock(),
        past=Asset,
        nonce=lambda: "n",
        observe=lambda _image, _event: None,
    )
    event = await uploader._find_lost(Asset("x", nonce="n"))
    assert isinstance(event, Lost)  # nothing is listed before the intent
    storage.created = 1
    assert isinstance(await uploader._find_lost(Asset("x", nonce="n")), kind)
