"""A probe: a run that buys chosen jobs, then makes the images of others ready without a submit, step by step.

A job whose images are made ready takes the same path as any other, up to its submit: its credits are held, the missing
images are uploaded out of the hold, and the hold is released (``HoldReleased``). It is then as it was before, and its
key was never sent. A kill leaves it as it leaves any job whose images were being uploaded: the hold stays until the
next run releases it, and the uploads are found again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Protocol

from crucible_batch.domain.events import HoldReleased, JobEvent, Prepared
from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.job import Command, Hold, Job, Phase, Prepare
from crucible_batch.domain.ledger import Ledger
from crucible_batch.domain.plan import InputImage, PlannedJob
from crucible_batch.domain.retry_rule import RetryRule
from crucible_batch.engine.history import History
from crucible_batch.engine.job_context import JobContext
from crucible_batch.engine.job_worker import JobWorker
from crucible_batch.engine.uploads import AssetUploader

NOT_SUBMITTED = "NOT_SUBMITTED"
_STARTED_FROM = {Phase.READY, Phase.FAILED}


class ProbeSteps(Protocol):
    """The choice of the jobs, by identity. Each method is called again after its step, until it returns none.

    All events of the steps before are in the journal and in ``ledger`` then. Chosen jobs that are neither ready to be
    started nor failed are left out of the step; a failed one is tried again.
    """

    def to_buy(self, ledger: Ledger) -> frozenset[str]:
        """Return the next jobs to buy. First called before the run begins."""
        ...

    def to_prepare(self, ledger: Ledger, is_there: Callable[[InputImage], bool]) -> frozenset[str]:
        """Return the next jobs of which only the images are made ready. Called once there is nothing to buy.

        ``is_there``: whether the gateway is known to have the image.
        """
        ...


class ProbedJobs:
    """The jobs that a probe has included so far."""

    def __init__(self, steps: ProbeSteps, ledger: Ledger, assets: AssetUploader) -> None:
        self._steps = steps
        self._ledger = ledger
        self._assets = assets
        self._first: frozenset[str] = frozenset()
        self._bought: set[str] = set()
        self._prepared: set[str] = set()

    def begin(self) -> int:
        """Choose the jobs of the first step, and return their number."""
        self._first = self._buy()
        return len(self._first)

    async def next(self) -> frozenset[str]:
        """Return the jobs of the next step; none if there is no further step. Raises ``GatewayError``."""
        chosen, self._first = self._first or self._buy(), frozenset()
        if chosen:
            return chosen
        await self._assets.read_list()
        return self._prepare()

    def add_rest(self) -> None:
        """Include the jobs of the next step if the run has ended before it: they count as not done."""
        if not self._buy():
            self._prepare()

    def buys(self, identity: str) -> bool:
        """Whether the run includes the job to buy it."""
        return identity in self._bought

    def only_prepares(self, identity: str) -> bool:
        """Whether the run includes the job, but may not submit it."""
        return identity in self._prepared and identity not in self._bought

    def is_unprepared(self, planned: PlannedJob) -> bool:
        """Whether the images of a job that is only prepared are not all at the gateway."""
        return self.only_prepares(planned.identity) and not self._assets.are_there(planned.images.values())

    def _buy(self) -> frozenset[str]:
        chosen = self._steps.to_buy(self._ledger)
        self._bought |= chosen
        return chosen

    def _prepare(self) -> frozenset[str]:
        chosen = self._steps.to_prepare(self._ledger, lambda image: self._assets.are_there([image]))
        self._prepared |= chosen
        return chosen


def ready_jobs(
    history: History, rule: RetryRule, chosen: frozenset[str]
) -> Generator[tuple[PlannedJob, Job], None, None]:
    """Yield the chosen jobs that are ready to be started, or have failed, in manifest order."""
    for planned, job in history.jobs(rule):
        if job.identity in chosen and job.phase in _STARTED_FROM:
            yield planned, job


class ImagePreparer:
    """Performs the commands of one job up to its images, and no command that submits it."""

    def __init__(self, context: JobContext, images: Iterable[InputImage], worker: JobWorker) -> None:
        self._context = context
        self._images = tuple(images)
        self._worker = worker

    async def perform(self, job: Job, command: Command) -> JobEvent | None:
        """Perform one command. None if the images are ready, or if the command would submit the job.

        Raises as ``JobWorker.perform`` does.
        """
        match command:
            case Hold() if await self._are_ready():
                return None
            case Hold() | Prepare():
                event = await self._worker.perform(job, command)
                return self._released() if isinstance(event, Prepared) else event
            case _:
                return None

    async def _are_ready(self) -> bool:
        await self._context.gate.wait_until_open()
        await self._context.assets.look_up(self._images)
        return self._context.assets.are_there(self._images)

    def _released(self) -> HoldReleased:
        error = ErrorInfo(NOT_SUBMITTED, "its images were made ready at the gateway, and it was not submitted")
        return HoldReleased(at=self._context.clock.now(), error=error)
