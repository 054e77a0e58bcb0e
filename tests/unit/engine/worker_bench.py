"""One job, its worker and its gateway in a world of their own: accounting, admission and stop are
the product's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from crucible_batch.core.events import (
    Event,
    Held,
    Listed,
    Saved,
)
from crucible_batch.core.gateway_types import (
    Account,
    ErrorInfo,
    JobSnapshot,
    JobStatus,
    Submission,
)
from crucible_batch.core.job import Hold, Job, Poll, Prepare, Submit, evolve, replay
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.outage import Outage
from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.core.ports import BeforeSend
from crucible_batch.core.prices import PriceBook, shape_of
from crucible_batch.core.resuming import resume_job
from crucible_batch.engine.admission import Admission
from crucible_batch.engine.clock import SystemClock
from crucible_batch.engine.job_records import PriceRecords
from crucible_batch.engine.job_worker import JobWorker, _NotSent
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.pause import Pause
from crucible_batch.engine.poller import Poller
from crucible_batch.engine.purchase_gate import PurchaseGate
from crucible_batch.engine.recovery import Recovery
from crucible_batch.engine.shutdown import Shutdown
from crucible_batch.engine.slots import Slot
from crucible_batch.errors import GatewayError
from crucible_batch.pace.concurrency import ConcurrencyLimit
from crucible_batch.pace.polls import PollScheduler, ServiceTimes
from tests.harness.histories import saved
from tests.unit.engine.readings import reader_of

D = Decimal
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

    async def workflows(self) -> list[str]:
        return []

    async def account(self) -> Account:
        return Account(D(10_000), D(0), D(10_000))

    async def append(self, _subject: str, _event: Event) -> None:
        """Durable at once."""

    async def submit(
        self,
        _workflow_id: str,
        _params: object,
        *,
        key: str,
        before_send: BeforeSend,
        before_retry: object,
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
    """A worker of one job in a world of its own: accounting, admission and stop are the product's."""

    def __init__(
        self, budget: str = "1000", prices: PriceBook | None = None, image: InputImage | None = None
    ) -> None:
        self.gateway, self.stop = Gateway(), Shutdown()
        self.accounting = JournaledLedger(self.gateway, Ledger(prices), D(budget))
        clock = Clock()
        self.pause = Pause(self.stop, clock, nullcontext)
        reader = reader_of(self.gateway, self.accounting, clock)
        self.admission = Admission(self.accounting, reader, self.stop, clock, pause=self.pause)
        self.pause.on_change.append(self.admission.wake)
        self.planned = PlannedJob(
            0, "job", "job", "w", {}, images={} if image is None else {"image": image}
        )
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
            return await poller._poll("j")

        limit = ConcurrencyLimit(4, 4)
        scheduler = PollScheduler(ServiceTimes(), requests=limit.requests)
        poller = Poller(self.gateway, clock, scheduler, job_timeout_s=60.0, limit=limit)  # type: ignore[arg-type]
        poller.until_ended = until_ended  # type: ignore[method-assign]
        world = SimpleNamespace(
            gateway=self.gateway,
            accounting=self.accounting,
            admission=self.admission,
            assets=SimpleNamespace(
                ready=ready,
                release=_ignored,
                look_up=_nothing,
                missing=lambda *_asked: 0,
                claim=_ignored,
            ),
            poller=poller,
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
        self.worker = JobWorker(world, self.planned, Slot())  # type: ignore[arg-type]

    async def ask_to_hold(self, *, may_buy: bool) -> Any:
        """Perform the first command of the job with a worker that may buy it, or not."""
        worker = JobWorker(self.worker._context, self.planned, Slot(), may_buy=may_buy)
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
        held = await self.admission.hold(
            self.job, shape, missing=lambda: images, claim=lambda: None
        )
        assert held is not None
        await self.record(held)
        return held

    async def is_tried_again(self, error: GatewayError) -> bool:
        """Whether a submit is sent again after a try that ended with this error."""
        await self.worker._before_retry(error, 0.0)
        try:
            self.worker._before_send(self.job)
        except _NotSent:
            return False
        return True

    async def do(self, command: Submit | Poll | Prepare) -> Any:
        return await self.worker.perform(self.job, command)


def leave_in_doubt(bench: Bench, credits: str, *, alone: bool = False) -> None:
    held = Held(
        at=0.0,
        attempt=1,
        key=bench.job.key,
        credits=D(credits),
        price_class="workflow:w",
        alone=alone,
    )
    bench.accounting.ledger.apply("job", held)
    bench.job = resume_job(replay(bench.job, [held]))
    bench.admission.add_resumed(bench.job)
