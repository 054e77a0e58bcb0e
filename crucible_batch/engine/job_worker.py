"""Performs a job's commands: each command becomes a request and then an event. All I/O of a job, and no policy."""

from __future__ import annotations

from functools import partial
from typing import assert_never

from crucible_batch.domain.budget import BUDGET_EXHAUSTED, hold_for_submit
from crucible_batch.domain.circuit_breaker import FailureScope, failure_scope
from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.events import (
    Accepted,
    Failed,
    Held,
    HoldReleased,
    JobEvent,
    JobLost,
    Prepared,
    Refused,
    Repriced,
    SubmitUnknown,
    Succeeded,
)
from crucible_batch.domain.gateway_types import ErrorInfo, JobSnapshot, JobStatus
from crucible_batch.domain.job import Command, Fetch, Hold, Job, Poll, Prepare, RecheckOutputs, Submit
from crucible_batch.domain.plan import PlannedJob
from crucible_batch.domain.prices import shape_of
from crucible_batch.domain.retry_rule import KEY_REUSED
from crucible_batch.engine.job_context import JobContext
from crucible_batch.engine.job_errors import key_reused_with_images, of_another, timed_out
from crucible_batch.engine.job_records import settled_as
from crucible_batch.engine.late_outputs import LOOK_AGAIN_AFTER_S
from crucible_batch.engine.poller import Interrupted
from crucible_batch.engine.purchase_check import PurchaseCheck
from crucible_batch.engine.shutdown import error_info
from crucible_batch.engine.slots import Slot
from crucible_batch.engine.uploads import AssetFailed, HoldOutgrown
from crucible_batch.errors import ExitCode, GatewayError, KeyRefusedError
from crucible_batch.outputs import ObjectStoreError

LOST_BY_GATEWAY = "LOST_BY_GATEWAY"
WORKFLOW_NOT_FOUND = "WORKFLOW_NOT_FOUND"
_LOOKS_AT_UNKNOWN = 4
_LESS_THAN_ANY = Credits(-1)
"""A price below any: with it the first poll of a job interrupts the wait, so that its record is compared."""


class _Withheld(Exception):  # noqa: N818 - a decision, not an error
    """A submit is not sent; ``event`` is what follows."""

    def __init__(self, event: JobEvent) -> None:
        super().__init__()
        self.event = event


class _HoldAgain(Exception):  # noqa: N818 - as above
    """A submit that an earlier run left in doubt is not sent now: its credits are held again first."""


class JobWorker:
    """Performs the commands of one job."""

    def __init__(self, world: JobContext, planned: PlannedJob, slot: Slot, *, may_buy: bool = True) -> None:
        self._world = world
        self._slot = slot
        self._planned = planned
        self._may_buy = may_buy
        self._shape = shape_of(planned)
        self._check = PurchaseCheck(world, planned, self._shape)
        self._images = tuple({image.spec.sha256: image for image in planned.images.values()}.values())
        self._accepted_now = False
        self._interrupted: Interrupted | None = None
        self._kept: JobEvent | GatewayError | None = None
        """The result of a command, kept while a price read on the way is entered in the ledger first."""
        self._tried: GatewayError | None = None
        """The error of the latest try of a submit."""
        self._held_before: tuple[Credits, bool] = (ZERO, False)
        """The hold of a submit in doubt before it was sent again, and whether it was alone."""

    async def perform(self, job: Job, command: Command) -> JobEvent | None:
        """Perform one command. None if it can't be done in this run; the reason is recorded in ``Shutdown``.

        Raises ``GatewayError`` if the gateway or the connection failed and nothing new is known of the job.
        """
        led_to, self._kept = self._kept, None
        if led_to is None:
            try:
                led_to = await self._carry_out(job, command)
            except GatewayError as error:
                led_to = error
            if job.attempts and (recorded := self._world.records.differing(job.current)) is not None:
                self._kept = led_to
                return self._repriced(job, recorded)
        if isinstance(led_to, GatewayError):
            raise led_to
        return led_to

    async def _carry_out(self, job: Job, command: Command) -> JobEvent | None:
        match command:
            case Hold():
                return await self._hold(job)
            case Prepare():
                return await self._prepare(job)
            case Submit():
                return await self._submit(job)
            case Poll(job_id=job_id):
                return await self._poll(job, job_id)
            case Fetch(index=index):
                number, missed = job.number_of(index), job.missed.get(index)
                return await self._world.fetcher.fetch(self._planned, job.current, index, number, missed=missed)
            case RecheckOutputs(job_id=job_id):
                return await self._world.lister.look(job, job_id)
            case _:
                assert_never(command)

    async def _hold(self, job: Job) -> Held | Refused | None:
        if not self._may_buy:
            return None
        if (gone := self._check.gone()) is not None:
            return gone
        await self._world.gate.passed()
        desk = self._world.assets
        if self._images:
            await desk.look_up(self._images)
            if desk.missing(job.identity, self._images) and self._world.recovery.forbids_upload():
                return None
        return await self._world.admission.hold(
            job,
            self._shape,
            missing=lambda: desk.missing(job.identity, self._images),
            claim=lambda: desk.claim(job.identity, self._images),
        )

    async def _prepare(self, job: Job) -> Prepared | HoldReleased | Refused:
        world = self._world
        if (kept := self._check.kept_back()) is not None:
            return kept
        ready: dict[str, str] = {}
        try:
            for image in self._images:
                ready[image.spec.sha256] = await world.assets.ready(image, payer=job.identity)
        except AssetFailed as failed:
            return self._refuse(failed.error) if not failed.declined else self._unpaid(failed.error)
        except ObjectStoreError as error:
            world.stop.failed(error)
            return HoldReleased(at=world.clock.now(), error=error_info(error))
        except HoldOutgrown:
            return self._check.kept_back() or world.gate.turned_back() or self._no_longer_fits()
        finally:
            world.assets.release(job.identity)
        ledger = world.books.ledger
        bundle = ledger.hold_of(job.identity)
        alone = world.admission.is_alone(job.identity)
        need: Credits | None = bundle
        if world.books.budget is not None:
            need = hold_for_submit(ledger.prices, self._shape, bundle, alone=alone)
        if need is None:
            return self._no_longer_fits()
        assets = {param: ready[image.spec.sha256] for param, image in self._planned.images.items()}
        return Prepared(at=world.clock.now(), assets=assets, credits=need)

    def _no_longer_fits(self) -> HoldReleased:
        message = "its uploads cost more than expected, so the job no longer fits the budget"
        return HoldReleased(at=self._world.clock.now(), error=ErrorInfo(BUDGET_EXHAUSTED, message))

    async def _submit(self, job: Job) -> JobEvent:
        if job.in_doubt:
            return await self._submit_again(job)
        await self._world.slots.turn(self._slot)
        event = await self._send(job)
        if not isinstance(event, Accepted):
            self._world.slots.left(self._slot)
        return event

    async def _submit_again(self, job: Job) -> JobEvent:
        """Submit a job that an earlier run left in doubt."""
        await self._world.gate.passed()
        ledger = self._world.books.ledger
        self._held_before = (ledger.hold_of(job.identity), job.identity in ledger.alone)
        while (error := self._check.too_late(job) or await self._world.admission.hold_again(job, self._shape)) is None:
            await self._world.slots.turn(self._slot)
            try:
                return await self._send(job)
            except _HoldAgain:
                self._world.slots.left(self._slot)
                await self._world.gate.passed()
        held, alone = self._held_before
        self._world.admission.restore_hold(job.identity, held, alone=alone)
        return SubmitUnknown(at=self._world.clock.now(), error=error)

    def _before_send(self, job: Job) -> None:
        """Raise ``_Withheld`` or ``_HoldAgain`` if a try of a submit is not to be sent, called right before it is.

        In a pause, in an outage and in a stopping run, only one in doubt is sent: its answer settles the doubt. None is
        sent with a key that the gateway may have forgotten, for that would be another purchase.
        """
        check, tried = self._check, self._tried
        if not job.in_doubt and not (tried is not None and tried.in_doubt):
            if (event := check.withdrawn(job)) is not None:
                raise _Withheld(event)
        elif tried is None:
            if not check.may_resend(job):
                raise _HoldAgain
        elif check.outgrown(job) is not None or check.too_late(job) is not None:
            raise _Withheld(self._not_accepted(job, tried))

    async def _before_retry(self, error: GatewayError, wait_s: float) -> None:
        """Wait for the next try of a submit."""
        self._tried = error
        if error.is_pushback:
            self._world.slots.refused(self._slot, error.retry_after_s, error.code)
            await self._world.slots.lend(wait_s)
            await self._world.slots.turn(self._slot)
        else:
            await self._world.clock.sleep(wait_s)

    async def _send(self, job: Job) -> JobEvent:
        """Send a submit, and return what follows from its answer. Raises ``_HoldAgain``."""
        world = self._world
        self._tried = None
        params = {**self._planned.params, **job.assets}
        try:
            submission = await world.gateway.submit(
                self._planned.workflow_id,
                params,
                key=job.current.key,
                before_send=partial(self._before_send, job),
                before_retry=self._before_retry,
            )
        except _Withheld as withheld:
            return withheld.event
        except GatewayError as error:
            if error.is_pushback:
                self._world.slots.refused(self._slot, error.retry_after_s, error.code)
            return self._not_accepted(job, error)
        if not world.owners.claim(job, submission.job_id):
            return self._not_accepted(job, of_another(submission.job_id))
        world.stop.accepted()
        world.slots.accepted(self._slot)
        reused = submission.existing and not submission.after_doubt and not job.in_doubt
        self._accepted_now = not submission.existing
        world.recovery.saw(submission, in_doubt=job.in_doubt)
        return Accepted(
            at=world.clock.now(),
            job_id=submission.job_id,
            credits=submission.credits,
            reused=reused,
            earlier=submission.existing and job.in_doubt,
        )

    def _not_accepted(self, job: Job, error: GatewayError) -> JobEvent:
        """Return the event of a submit that was not accepted, by this table:

        in doubt, now or before   SubmitUnknown: a later refusal proves nothing about the first try
        another key's job         SubmitUnknown: the answer doesn't show whether this job was bought
        401                       HoldReleased, and the run ends
        402                       HoldReleased, and nothing more is bought until a refund
        a refusal                 Refused; its scope is decided by ``domain.circuit_breaker``
        429                       HoldReleased: submitted again when there is a slot
        5xx, an edge's error page HoldReleased, and the run stops: the gateway fails, not the job
        """
        world = self._world
        info = error_info(error)
        if error.code == KEY_REUSED and self._images:
            info = key_reused_with_images(info)
        if error.in_doubt or job.in_doubt:
            if job.in_doubt and not error.in_doubt:
                # This try has bought nothing; an earlier one may have, so its hold stays.
                held, alone = self._held_before
                world.admission.restore_hold(job.identity, held, alone=alone)
            # A refusal of this job is not a failure of the gateway: the other jobs are still submitted.
            if error.status == 402:
                world.admission.close_account()
            elif not error.is_refusal or error.status == 401:
                self._note(error)
            return SubmitUnknown(at=world.clock.now(), error=info)
        if isinstance(error, KeyRefusedError):
            world.stop.failed(error)
            return HoldReleased(at=world.clock.now(), error=info)
        if error.status == 402:
            return self._unpaid(info)
        if error.is_refusal or error.code == "BAD_REQUEST":
            self._note_refusal(job, error)
            return self._refuse(info)
        if error.status == 429:
            if (withdrawn := self._check.withdrawn(job)) is not None:
                return withdrawn
            if world.slots.limit.is_silent:
                world.stop.pushed_back(error)
        else:
            self._note(error)
            world.stop.wind_down(ExitCode.STOPPED, info)
        return HoldReleased(at=world.clock.now(), error=info)

    def _note_refusal(self, job: Job, error: GatewayError) -> None:
        match failure_scope(error.status, error.code, job.rule.never):
            case FailureScope.JOB:
                pass
            case FailureScope.WORKFLOW:
                self._world.gone_workflows[self._planned.workflow_id] = error_info(error)
            case FailureScope.EVERYONE:
                self._world.stop.refused(error)
            case other:
                assert_never(other)

    def _note(self, error: GatewayError) -> None:
        if isinstance(error, KeyRefusedError):
            self._world.stop.failed(error)
        else:
            self._world.stop.unserved(error, self._planned.name)

    def _unpaid(self, error: ErrorInfo) -> HoldReleased:
        """Take in a 402, whatever its error code: nothing is bought until a refund."""
        self._world.admission.close_account()
        return HoldReleased(at=self._world.clock.now(), error=error)

    def _refuse(self, error: ErrorInfo) -> Refused:
        return Refused(at=self._world.clock.now(), error=error)

    async def _poll(self, job: Job, job_id: str) -> Repriced | Succeeded | Failed | JobLost | None:
        """Wait until the job has ended, or its record names a higher price than is known."""
        self._world.slots.found(self._slot)
        if self._world.admission.is_to_be_compared(job.identity):
            recorded = await self._recorded_price(job_id)
            if recorded is not None and (differs := self._compared(job, recorded)) is not None:
                return differs
        while isinstance(found := await self._look(job, job_id), Interrupted):
            self._interrupted = found
            if (differs := self._compared(job, found.credits)) is not None:
                return differs
        if not isinstance(found, JobSnapshot):
            return found
        if found.credits <= job.current.credits:
            self._compared(job, found.credits)
        self._world.records.note(found)
        self._world.slots.left(self._slot)
        return self._ended(job, found)

    def _compared(self, job: Job, recorded: Credits) -> Repriced | None:
        """Compare a record's price with the known one. A higher one is entered before the submit counts as answered."""
        self._world.stop.read()
        if recorded > job.current.credits:
            return self._repriced(job, recorded)
        self._world.admission.compared(job.identity, job.current.credits)
        return None

    def _repriced(self, job: Job, recorded: Credits) -> Repriced:
        self._world.admission.figures_differ(job.identity, self._shape, job.current.credits, recorded)
        settled = settled_as(job.current, self._shape)
        return Repriced(at=self._world.clock.now(), credits=recorded, settled=settled)

    async def _recorded_price(self, job_id: str) -> Credits | None:
        """Read the price in a job's record; None if it can't be read. A job just accepted may be unknown at first."""
        for look in range(_LOOKS_AT_UNKNOWN):
            if look:
                await self._world.clock.sleep(LOOK_AGAIN_AFTER_S)
            await self._world.poller.out_of_turn()
            try:
                return (await self._world.gateway.job(job_id)).credits
            except GatewayError as error:
                if error.status != 404:
                    break
        return None

    async def _look(self, job: Job, job_id: str) -> JobSnapshot | Interrupted | JobLost | None:
        world, earlier = self._world, self._interrupted
        self._interrupted = None
        is_unread = world.admission.is_to_be_compared(job.identity)
        try:
            found = await world.poller.until_ended(
                job_id,
                self._planned.workflow_id,
                price=_LESS_THAN_ANY if is_unread else job.current.credits,
                poll_at_once=not self._accepted_now,
                earlier=earlier,
            )
        except GatewayError as error:
            if is_unread:
                world.stop.unread(error)
            if error.status != 404 or not error.is_refusal:
                raise
            lost = ErrorInfo(LOST_BY_GATEWAY, f"the gateway no longer knows job {job_id}", request_id=error.request_id)
            return JobLost(at=world.clock.now(), error=lost)
        world.stop.served()
        if found is None:
            world.stop.wind_down(ExitCode.STOPPED, timed_out(job_id))
        return found

    def _ended(self, job: Job, snapshot: JobSnapshot) -> Succeeded | Failed:
        if snapshot.status is JobStatus.FAILED:
            error = snapshot.error or ErrorInfo(
                "JOB_FAILED", "the gateway reports the job as failed, without a message"
            )
            if not job.rule.allows_another(job.attempt, error.code) and error.code.upper() not in job.rule.never:
                self._world.stop.failed_for_good(error)
            return Failed(at=self._world.clock.now(), error=error, running_at=snapshot.running_at)
        self._world.stop.succeeded()
        self._world.fetcher.seen(snapshot)
        return Succeeded(
            at=self._world.clock.now(),
            outputs=len(snapshot.outputs),
            running_at=snapshot.running_at,
            numbers=snapshot.numbers,
        )
