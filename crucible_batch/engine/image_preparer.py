"""A run that only uploads: the images of its jobs are made ready at the gateway, and no job is submitted.

A job takes the same path as in any run, up to its submit: its credits are held, the missing images are uploaded out of
the hold, and the hold is released (``HoldReleased``). It is then as it was before, and its key was never sent. A kill
leaves it as it leaves any job whose images were being uploaded: the hold stays until the next run releases it, and the
uploads are found again.
"""

from __future__ import annotations

from collections.abc import Iterable

from crucible_batch.domain.events import HoldReleased, JobEvent, Prepared
from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.job import Command, Hold, Job, Submit
from crucible_batch.domain.plan import InputImage
from crucible_batch.engine.job_context import JobContext
from crucible_batch.engine.job_worker import JobWorker

NOT_SUBMITTED = "NOT_SUBMITTED"


class ImagePreparer:
    """Performs the commands of one job, and no command that submits it."""

    def __init__(self, context: JobContext, images: Iterable[InputImage], worker: JobWorker) -> None:
        self._context = context
        self._images = tuple(images)
        self._worker = worker

    async def perform(self, job: Job, command: Command) -> JobEvent | None:
        """Perform one command. None if the images are ready, or if the command would submit the job.

        Raises as ``JobWorker.perform`` does.
        """
        match command:
            case Submit():
                return None
            case Hold() if await self._are_ready():
                return None
            case _:
                event = await self._worker.perform(job, command)
                return self._released() if isinstance(event, Prepared) else event

    async def _are_ready(self) -> bool:
        await self._context.gate.wait_until_open()
        await self._context.assets.look_up(self._images)
        return self._context.assets.are_there(self._images)

    def _released(self) -> HoldReleased:
        error = ErrorInfo(NOT_SUBMITTED, "its images were made ready at the gateway, and it was not submitted")
        return HoldReleased(at=self._context.clock.now(), error=error)
