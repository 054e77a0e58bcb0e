"""Jobs that an ended run left unfinished: not submitted, or submitted under a key that is too old
to be sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from crucible_batch.core.events import HoldReleased, JobEvent, SubmitUnknown
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, Phase, evolve
from crucible_batch.core.plan import PlannedJob
from crucible_batch.engine.clock import Clock
from crucible_batch.engine.job_errors import KEY_MAY_BE_FORGOTTEN, key_too_old_error
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.engine.progress_reporter import ProgressReporter
from crucible_batch.engine.shutdown import error_info
from crucible_batch.errors import CrucibleBatchError


class UnfinishedJobs:
    """Journals and reports why such jobs are not continued."""

    def __init__(self, accounting: JournaledLedger, clock: Clock, tell: ProgressReporter) -> None:
        self._accounting = accounting
        self._clock = clock
        self._tell = tell

    async def record_forgotten(self, forgotten: Iterable[tuple[PlannedJob, Job]]) -> None:
        """Record, once each, why submits in doubt with an old key are not sent again."""
        for planned, job in forgotten:
            if job.error is None or job.error.code != KEY_MAY_BE_FORGOTTEN:
                await self._record(
                    planned, job, SubmitUnknown(at=self._clock.now(), error=key_too_old_error(job))
                )

    async def release_unsent(self, jobs: Iterable[tuple[PlannedJob, Job]], ended: str) -> None:
        """Release the holds of jobs stopped while their images were uploaded: no submit was sent.

        ``ended`` is the sentence's beginning, such as "the run ended".
        """
        for planned, job in jobs:
            if job.phase is Phase.PREPARING:
                await self._record(planned, job, self.unsent(ended))

    async def skip_unsent(
        self, in_flight: Iterable[tuple[PlannedJob, Job]], continues: Callable[[PlannedJob], bool]
    ) -> list[tuple[PlannedJob, Job]]:
        """Return the jobs in flight without those of which no submit was sent, whose holds are
        released.

        Jobs that ``continues`` accepts are returned in any case.
        """
        left = list(in_flight)
        unsent = [
            found for found in left if found[1].phase is Phase.PREPARING and not continues(found[0])
        ]
        await self.release_unsent(unsent, "an earlier run ended")
        released = {job.identity for _, job in unsent}
        return [found for found in left if found[1].identity not in released]

    def unsent(self, ended: str, error: Exception | None = None) -> HoldReleased:
        """Return the event that releases such a hold.

        ``error`` is what ended it, as far as it is one of ours.
        """
        info = ErrorInfo("INTERRUPTED", f"{ended} while its images were uploaded")
        if isinstance(error, CrucibleBatchError):
            info = error_info(error)
        return HoldReleased(at=self._clock.now(), error=info)

    async def _record(self, planned: PlannedJob, job: Job, event: JobEvent) -> None:
        await self._accounting.record(job.identity, event)
        self._tell.job(planned, job, event, evolve(job, event))
