"""What keeps a job from being bought, checked before its credits are held and right before its submit is sent."""

from __future__ import annotations

from crucible_batch.domain.budget import PRICE_ROSE, hold_is_too_small, may_resend
from crucible_batch.domain.events import HoldReleased, Refused
from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.job import Job
from crucible_batch.domain.outcome import EVERYTHING
from crucible_batch.domain.plan import PlannedJob
from crucible_batch.domain.prices import Shape
from crucible_batch.engine.history import key_too_old_error
from crucible_batch.engine.job_context import JobContext


class PurchaseCheck:
    """The reasons for not buying one job, each as the event or the error that follows from it. None: there is none."""

    def __init__(self, world: JobContext, planned: PlannedJob, shape: Shape) -> None:
        self._world = world
        self._planned = planned
        self._shape = shape

    def kept_back(self) -> HoldReleased | Refused | None:
        """The run is stopping, or the workflow is gone."""
        return self._stopped() or self.gone()

    def gone(self) -> Refused | None:
        """The gateway has no such workflow."""
        error = self._world.gone_workflows.get(self._planned.workflow_id)
        return None if error is None else Refused(at=self._world.clock.now(), error=error)

    def withdrawn(self, job: Job) -> HoldReleased | Refused | None:
        """A submit that was not sent yet is not sent now. The job then asks for its credits again, or stays."""
        return self._stopped() or self.outgrown(job) or self._world.gate.turned_back() or self.gone()

    def _stopped(self) -> HoldReleased | None:
        world = self._world
        if world.stop.may_buy_now():
            return None
        return HoldReleased(at=world.clock.now(), error=world.stop.stops[EVERYTHING])

    def outgrown(self, job: Job) -> HoldReleased | None:
        """A price has risen since the hold was taken, and it is too small now."""
        ledger, budget = self._world.books.ledger, self._world.books.budget
        if budget is None:
            return None
        alone = self._world.admission.is_alone(job.identity)
        if not hold_is_too_small(ledger, budget, self._shape, ledger.hold_of(job.identity), alone=alone):
            return None
        error = ErrorInfo(PRICE_ROSE, f"a price rose after credits were held for a job on {self._planned.workflow_id}")
        return HoldReleased(at=self._world.clock.now(), error=error)

    def too_late(self, job: Job) -> ErrorInfo | None:
        """The gateway may have forgotten the key of a submit in doubt, so sending it may be another purchase."""
        return key_too_old_error(job) if self._world.is_forgotten(job) else None

    def may_resend(self, job: Job) -> bool:
        """Whether a submit that an earlier run left in doubt may be sent now, on the hold that it has."""
        if self.too_late(job) is not None or self._world.gate.is_paused:
            return False
        ledger, budget = self._world.books.ledger, self._world.books.budget
        hold, alone = ledger.hold_of(job.identity), job.identity in ledger.alone
        return budget is None or may_resend(ledger, budget, self._shape, hold, alone=alone)
