"""Performs a job's commands: each command becomes a request and then an event. All I/O of a job,
and no policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import assert_never

from msgspec import structs

from crucible_batch.core.budget import BUDGET_EXHAUSTED, hold_for_submit
from crucible_batch.core.circuit_breaker import FailureScope, failure_scope
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import (
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
from crucible_batch.core.gateway_types import ErrorInfo, JobSnapshot, JobStatus
from crucible_batch.core.job import Command, Fetch, Hold, Job, Poll, Prepare, RecheckOutputs, Submit
from crucible_batch.core.job_record import matches_record
from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.core.prices import shape_of
from crucible_batch.core.retry_rule import KEY_REUSED
from crucible_batch.engine.job_context import JobContext
from crucible_batch.engine.job_errors import (
    job_of_another_key,
    job_of_another_request,
    job_timed_out,
    key_reused_with_images,
)
from crucible_batch.engine.job_records import settled_as
from crucible_batch.engine.poller import PriceToCompare
from crucible_batch.engine.purchase_check import PurchaseCheck
from crucible_batch.engine.shutdown import error_info
from crucible_batch.engine.slots import Slot
from crucible_batch.engine.uploads import AssetFailed, AssetUploader, UploadNotSent
from crucible_batch.errors import ExitCode, GatewayError, KeyRefusedError
from crucible_batch.outputs import ObjectStoreError


async def with_present_assets(
    job: Job, images: Mapping[str, InputImage], uploader: AssetUploader
) -> Job | None:
    """Return the job with the assets that its images have at the gateway now; None if an image is
    not there.

    Nothing is uploaded, since the job's hold is for its earlier submit. Raises ``GatewayError``.
    """
    nobody = ""
    await uploader.look_up(images.values())
    if not uploader.are_there(images.values()):
        return None
    assets = {param: await uploader.ready(image, payer=nobody) for param, image in images.items()}
    return structs.replace(job, assets=assets)


def image_deleted(error: ErrorInfo) -> ErrorInfo:
    """Return the error of a refused submit in doubt, with what to do if an image of its job is not
    at the gateway."""
    if error.code == KEY_REUSED:
        return error
    return replace(
        error,
        hint=(
            "an input image of this job was deleted at the gateway. An earlier submit was never "
            "answered and may have bought the job, so its credits stay held. Once another job, "
            "in this run or with another --run-id, has uploaded the same file, "
            "run the same command again: "
            "the job is sent with it under the same key, which can't buy it twice"
        ),
    )


LOST_BY_GATEWAY = "LOST_BY_GATEWAY"
_LESS_THAN_ANY = Credits(-1)
"""A price below any: with it the first poll of a job interrupts the wait, so that its record is
compared.
"""


class _NotSent(Exception):  # noqa: N818 - a decision, not an error
    """A try of a submit is not sent; ``event`` records why."""

    def __init__(self, event: JobEvent) -> None:
        super().__init__()
        self.event = event


class _HoldAgain(Exception):  # noqa: N818 - as above
    """A submit that an earlier run left in doubt is not sent before its credits are held again."""


class JobWorker:
    """Performs the commands of one job."""

    def __init__(
        self, context: JobContext, planned: PlannedJob, slot: Slot, *, may_buy: bool = True
    ) -> None:
        self._context = context
        self._slot = slot
        self._planned = planned
        self._may_buy = may_buy
        self._shape = shape_of(planned)
        self._check = PurchaseCheck(context, planned, self._shape)
        self._images = tuple(
            {image.spec.sha256: image for image in planned.images.values()}.values()
        )
        self._accepted_now = False
        self._record: JobSnapshot | None = None
        """The record of a job that existed already, until its first poll."""
        self._to_compare: PriceToCompare | None = None
        self._result: JobEvent | GatewayError | None = None
        """The result of a command that is returned later: a price that was read meanwhile is
        journalled first.
        """
        self._tried: GatewayError | None = None
        """The error of the latest try of a submit."""
        self._was_refused = False
        """Whether the latest submit was refused by a definite answer about this job."""
        self._held_before: tuple[Credits, bool] = (ZERO, False)
        """The hold of a submit in doubt before it was sent again, and whether it was alone."""

    async def perform(self, job: Job, command: Command) -> JobEvent | None:
        """Perform one command. None if it can't be done in this run; the reason is recorded in
        ``Shutdown``.

        Raises ``GatewayError`` if the gateway or the connection failed and nothing new is known of
        the job.
        """
        result, self._result = self._result, None
        if result is None:
            try:
                result = await self._carry_out(job, command)
            except GatewayError as error:
                result = error
            recorded = None
            if job.attempts:
                recorded = self._context.records.differing(job.current)
            if recorded is not None:
                self._result = result
                return self._repriced(job, recorded)
        if isinstance(result, GatewayError):
            raise result
        return result

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
                return await self._context.fetcher.fetch(
                    self._planned, job.current, index, number, missed=missed
                )
            case RecheckOutputs(job_id=job_id):
                return await self._context.lister.look(job, job_id)
            case _:
                assert_never(command)

    async def _hold(self, job: Job) -> Held | Refused | None:
        if not self._may_buy:
            return None
        gone = self._check.workflow_gone()
        if gone is not None:
            return gone
        await self._context.gate.wait_until_open()
        uploader = self._context.assets
        if self._images:
            await uploader.look_up(self._images)
            if (
                uploader.missing(job.identity, self._images)
                and self._context.recovery.forbids_upload()
            ):
                return None
        return await self._context.admission.hold(
            job,
            self._shape,
            missing=lambda: uploader.missing(job.identity, self._images),
            claim=lambda: uploader.claim(job.identity, self._images),
        )

    async def _prepare(self, job: Job) -> Prepared | HoldReleased | Refused:
        context = self._context
        kept = self._check.stopped_or_workflow_gone()
        if kept is not None:
            return kept
        ready: dict[str, str] = {}
        try:
            for image in self._images:
                ready[image.spec.sha256] = await context.assets.ready(image, payer=job.identity)
        except AssetFailed as failed:
            if failed.declined:
                return self._payment_required(failed.error)
            return Refused(at=context.clock.now(), error=failed.error)
        except ObjectStoreError as error:
            context.stop.failed(error)
            return HoldReleased(at=context.clock.now(), error=error_info(error))
        except UploadNotSent:
            return (
                self._check.stopped_or_workflow_gone()
                or context.gate.release_if_closed()
                or self._no_longer_fits()
            )
        finally:
            context.assets.release(job.identity)
        ledger = context.accounting.ledger
        bundle = ledger.hold_of(job.identity)
        alone = context.admission.is_alone(job.identity)
        need: Credits | None = bundle
        if context.accounting.budget is not None:
            need = hold_for_submit(ledger.prices, self._shape, bundle, alone=alone)
        if need is None:
            return self._no_longer_fits()
        assets = {param: ready[image.spec.sha256] for param, image in self._planned.images.items()}
        return Prepared(at=context.clock.now(), assets=assets, credits=need)

    def _no_longer_fits(self) -> HoldReleased:
        message = "its uploads cost more than expected, so the job no longer fits the budget"
        return HoldReleased(
            at=self._context.clock.now(), error=ErrorInfo(BUDGET_EXHAUSTED, message)
        )

    async def _submit(self, job: Job) -> JobEvent:
        if job.in_doubt:
            return await self._submit_again(job)
        await self._context.slots.wait_for_turn(self._slot)
        event = await self._send(job)
        if not isinstance(event, Accepted):
            self._context.slots.left_gateway(self._slot)
        return event

    async def _submit_again(self, job: Job) -> JobEvent:
        """Submit a job that an earlier run left in doubt.

        If it is refused, and its images have other assets now, it is sent with these under the same
        key.
        """
        await self._context.gate.wait_until_open(holds_credits=True)
        ledger, admission = self._context.accounting.ledger, self._context.admission
        self._held_before = (ledger.hold_of(job.identity), job.identity in ledger.alone)
        while True:
            error = self._check.key_too_old(job) or await admission.hold_again(job, self._shape)
            if error is not None:
                break
            await self._context.slots.wait_for_turn(self._slot)
            with suppress(_HoldAgain):
                event = await self._send(job)
                if not (isinstance(event, SubmitUnknown) and self._was_refused and self._images):
                    return event
                moved = await with_present_assets(job, self._planned.images, self._context.assets)
                if moved is None:
                    return structs.replace(event, error=image_deleted(event.error))
                if moved == job:
                    return event
                job = moved
            self._context.slots.left_gateway(self._slot)
            await self._context.gate.wait_until_open(holds_credits=True)
        self._restore_hold(job)
        return SubmitUnknown(at=self._context.clock.now(), error=error)

    def _restore_hold(self, job: Job) -> None:
        """Revert ``Admission.hold_again``: the repeated submit bought nothing."""
        held, alone = self._held_before
        self._context.accounting.ledger.set_hold(job.identity, held, alone=alone)

    def _before_send(self, job: Job) -> None:
        """Raise ``_NotSent`` or ``_HoldAgain`` if a try of a submit is not to be sent, called right
        before it is.

        In a pause, in an outage and in a stopping run, only a submit whose last try is in doubt is
        sent, since its answer shows whether the job was bought. One that an earlier run left in
        doubt waits for the end of a pause or an outage, and is not sent in a stopping run, also
        after a try of this run that was refused. A submit whose key the gateway may have forgotten
        is never sent: it might buy the job again.
        """
        check, tried = self._check, self._tried
        if not job.in_doubt and not (tried is not None and tried.in_doubt):
            event = check.reason_not_to_submit(job)
            if event is not None:
                raise _NotSent(event)
        elif tried is None or not tried.in_doubt:
            if not check.may_resend(job):
                raise _HoldAgain
        elif check.hold_too_small(job) is not None or check.key_too_old(job) is not None:
            raise _NotSent(self._not_accepted(job, tried))

    async def _before_retry(self, error: GatewayError, wait_s: float) -> None:
        """Wait for the next try of a submit."""
        self._tried = error
        if error.is_pushback:
            self._context.slots.refused(self._slot, error.retry_after_s, error.code)
            await self._context.slots.lend(wait_s)
            await self._context.slots.wait_for_turn(self._slot)
        else:
            await self._context.clock.sleep(wait_s)

    async def _send(self, job: Job) -> JobEvent:
        """Send a submit, and return what follows from its answer. Raises ``_HoldAgain``."""
        context = self._context
        self._tried, self._was_refused, self._record = None, False, None
        params = {**self._planned.params, **job.assets}
        try:
            submission = await context.gateway.submit(
                self._planned.workflow_id,
                params,
                key=job.current.key,
                before_send=partial(self._before_send, job),
                before_retry=self._before_retry,
            )
        except _NotSent as withheld:
            return withheld.event
        except GatewayError as error:
            self._was_refused = error.is_refusal and error.status not in (401, 402)
            if error.is_pushback:
                self._context.slots.refused(self._slot, error.retry_after_s, error.code)
            return self._not_accepted(job, error)
        if submission.existing:
            try:
                self._record = await context.poller.read(submission.job_id)
            except GatewayError as error:
                context.stop.note(error, self._planned.name)
                return SubmitUnknown(at=context.clock.now(), error=error_info(error))
            if self._record is not None and not matches_record(self._planned, self._record):
                return self._not_accepted(job, job_of_another_request(self._planned, self._record))
        if not context.owners.claim(job, submission.job_id):
            return self._not_accepted(job, job_of_another_key(submission.job_id))
        context.stop.accepted()
        context.slots.accepted(self._slot)
        reused = submission.existing and not submission.after_doubt and not job.in_doubt
        self._accepted_now = not submission.existing
        context.recovery.saw(submission, in_doubt=job.in_doubt)
        return Accepted(
            at=context.clock.now(),
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
        a refusal                 Refused; its scope is decided by ``core.circuit_breaker``
        429                       HoldReleased: submitted again when there is a slot
        5xx, an edge's error page HoldReleased, and the run stops: the gateway fails, not the job
        """
        context = self._context
        info = error_info(error)
        if error.code == KEY_REUSED and self._images:
            info = key_reused_with_images(info, in_doubt=job.in_doubt)
        if error.in_doubt or job.in_doubt:
            if job.in_doubt and not error.in_doubt:
                # This try has bought nothing; an earlier one may have, so its hold stays.
                self._restore_hold(job)
            # A refusal of this job is not a failure of the gateway: the other jobs are still
            # submitted.
            if error.status == 402:
                context.admission.close_account(info.message)
            elif not error.is_refusal or error.status == 401:
                context.stop.note(error, self._planned.name)
            return SubmitUnknown(at=context.clock.now(), error=info)
        if isinstance(error, KeyRefusedError):
            context.stop.failed(error)
            return HoldReleased(at=context.clock.now(), error=info)
        if error.status == 402:
            return self._payment_required(info)
        if error.is_refusal or error.code == "BAD_REQUEST":
            self._note_refusal(job, error)
            return Refused(at=context.clock.now(), error=info)
        if error.status == 429:
            withdrawn = self._check.reason_not_to_submit(job)
            if withdrawn is not None:
                return withdrawn
            if context.slots.limit.is_silent:
                context.stop.pushed_back(error)
        else:
            context.stop.note(error, self._planned.name)
            context.stop.wind_down(ExitCode.STOPPED, info)
        return HoldReleased(at=context.clock.now(), error=info)

    def _note_refusal(self, job: Job, error: GatewayError) -> None:
        match failure_scope(error.status, error.code, job.rule.never):
            case FailureScope.JOB:
                pass
            case FailureScope.WORKFLOW:
                self._context.gone_workflows[self._planned.workflow_id] = error_info(error)
            case FailureScope.EVERYONE:
                self._context.stop.refused(error)
            case other:
                assert_never(other)

    def _payment_required(self, error: ErrorInfo) -> HoldReleased:
        """Stop purchases until a refund, after a 402 with any error code, and return the event."""
        self._context.admission.close_account(error.message)
        return HoldReleased(at=self._context.clock.now(), error=error)

    async def _poll(self, job: Job, job_id: str) -> Repriced | Succeeded | Failed | JobLost | None:
        """Wait until the job has ended, or its record names a higher price than is known."""
        self._context.slots.found_at_gateway(self._slot)
        if self._context.admission.needs_comparison(job.identity):
            record = self._record
            with suppress(GatewayError):
                record = record or await self._context.poller.read(job_id)
            repriced = None
            if record is not None:
                repriced = self._compare_price(job, record.credits)
            if repriced is not None:
                return repriced
        found = await self._wait_for_end(job, job_id)
        while isinstance(found, PriceToCompare):
            self._to_compare = found
            repriced = self._compare_price(job, found.credits)
            if repriced is not None:
                return repriced
            found = await self._wait_for_end(job, job_id)
        if not isinstance(found, JobSnapshot):
            return found
        if found.credits <= job.current.credits:
            self._compare_price(job, found.credits)
        self._context.records.note(found)
        self._context.slots.left_gateway(self._slot)
        return self._end_event(job, found)

    def _compare_price(self, job: Job, recorded: Credits) -> Repriced | None:
        """Compare a record's price with the known one.

        A higher one is entered before the submit counts as answered.
        """
        self._context.stop.read()
        if recorded > job.current.credits:
            return self._repriced(job, recorded)
        self._context.admission.mark_compared(job.identity, job.current.credits)
        return None

    def _repriced(self, job: Job, recorded: Credits) -> Repriced:
        self._context.admission.note_price_difference(
            job.identity, self._shape, job.current.credits, recorded
        )
        settled = settled_as(job.current, self._shape)
        return Repriced(at=self._context.clock.now(), credits=recorded, settled=settled)

    async def _wait_for_end(
        self, job: Job, job_id: str
    ) -> JobSnapshot | PriceToCompare | JobLost | None:
        """Poll until the job has ended; ``PriceToCompare`` if a record shows a price that has to be
        compared first."""
        context, earlier, known = self._context, self._to_compare, self._record
        self._to_compare = self._record = None
        is_unread = context.admission.needs_comparison(job.identity)
        price = job.current.credits
        if is_unread:
            price = _LESS_THAN_ANY
        try:
            found = await context.poller.until_ended(
                job_id,
                self._planned.workflow_id,
                price=price,
                is_due_now=not self._accepted_now,
                known=known,
                earlier=earlier,
            )
        except GatewayError as error:
            if is_unread:
                context.stop.unread(error)
            if not error.is_not_found:
                raise
            lost = ErrorInfo(
                LOST_BY_GATEWAY,
                f"the gateway no longer knows job {job_id}",
                request_id=error.request_id,
            )
            return JobLost(at=context.clock.now(), error=lost)
        context.stop.served()
        if found is None:
            context.stop.wind_down(ExitCode.STOPPED, job_timed_out(job_id))
        return found

    def _end_event(self, job: Job, snapshot: JobSnapshot) -> Succeeded | Failed:
        """Return the event of a job that has ended, and count it for the circuit breaker."""
        if snapshot.status is JobStatus.FAILED:
            error = snapshot.error or ErrorInfo(
                "JOB_FAILED", "the gateway reports the job as failed, without a message"
            )
            if (
                not job.rule.allows_another(job.attempt, error.code)
                and error.code.upper() not in job.rule.never
            ):
                self._context.stop.failed_for_good(error)
            return Failed(at=self._context.clock.now(), error=error, running_at=snapshot.running_at)
        self._context.stop.succeeded()
        self._context.fetcher.seen(snapshot)
        return Succeeded(
            at=self._context.clock.now(),
            outputs=len(snapshot.outputs),
            running_at=snapshot.running_at,
            numbers=snapshot.numbers,
        )
