"""What keeps a job from being bought, checked before its credits are held and right before its
submit is sent."""

from __future__ import annotations

from crucible_batch.core.budget import PRICE_ROSE, hold_is_too_small, may_resend
from crucible_batch.core.events import HoldReleased, Refused
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job
from crucible_batch.core.outcome import EVERYTHING
from crucible_batch.core.plan import PlannedJob
from crucible_batch.core.prices import Shape
from crucible_batch.engine.job_context import JobContext
from crucible_batch.engine.job_errors import key_too_old_error


class PurchaseCheck:
    """The reasons for not buying one job.

    Each method returns the event or the error that records its reason; None if the reason does not
    apply.
    """

    def __init__(self, context: JobContext, planned: PlannedJob, shape: Shape) -> None:
        self._context = context
        self._planned = planned
        self._shape = shape

    def stopped_or_workflow_gone(self) -> HoldReleased | Refused | None:
        """The run is stopping, or the gateway has no such workflow."""
        return self._stopped() or self.workflow_gone()

    def workflow_gone(self) -> Refused | None:
        """The gateway has no such workflow."""
        error = self._context.gone_workflows.get(self._planned.workflow_id)
        if error is None:
            return None
        return Refused(at=self._context.clock.now(), error=error)

    def reason_not_to_submit(self, job: Job) -> HoldReleased | Refused | None:
        """The first try of a submit is not sent now: any of the reasons below, or the gate is
        closed.
        """
        gate = self._context.gate
        return (
            self._stopped()
            or self.hold_too_small(job)
            or gate.release_if_closed()
            or self.workflow_gone()
        )

    def _stopped(self) -> HoldReleased | None:
        context = self._context
        if context.stop.may_buy_now():
            return None
        return HoldReleased(at=context.clock.now(), error=context.stop.stops[EVERYTHING])

    def hold_too_small(self, job: Job) -> HoldReleased | None:
        """A price has risen since the hold was taken, so that the hold is too small now."""
        ledger, budget = self._context.accounting.ledger, self._context.accounting.budget
        if budget is None:
            return None
        admission, hold = self._context.admission, ledger.hold_of(job.identity)
        alone, uncounted = admission.is_alone(job.identity), admission.uncounted
        if not hold_is_too_small(
            ledger, budget, self._shape, hold, alone=alone, uncounted=uncounted
        ):
            return None
        error = ErrorInfo(
            PRICE_ROSE,
            f"a price rose after credits were held for a job on {self._planned.workflow_id}",
        )
        return HoldReleased(at=self._context.clock.now(), error=error)

    def key_too_old(self, job: Job) -> ErrorInfo | None:
        """The gateway may have forgotten the key of a submit in doubt, so sending it may be another
        purchase."""
        if not self._context.is_forgotten(job):
            return None
        return key_too_old_error(job)

    def may_resend(self, job: Job) -> bool:
        """Whether a submit that an earlier run left in doubt may be sent now, on the hold that it
        has."""
        is_stopped = not self._context.stop.may_buy_now()
        if is_stopped or self._context.gate.is_paused or self.key_too_old(job) is not None:
            return False
        ledger, budget = self._context.accounting.ledger, self._context.accounting.budget
        hold, alone = ledger.hold_of(job.identity), job.identity in ledger.alone
        if budget is None:
            return True
        uncounted = self._context.admission.uncounted
        return may_resend(ledger, budget, self._shape, hold, alone=alone, uncounted=uncounted)
