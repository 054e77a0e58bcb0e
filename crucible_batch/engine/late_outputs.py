"""Looking again at what a job lists once it has succeeded: the contract doesn't say that its list is whole then."""

from __future__ import annotations

from collections.abc import Callable

from crucible_batch.domain.events import Listed, Unavailable
from crucible_batch.domain.gateway_types import JobSnapshot, JobStatus
from crucible_batch.domain.job import Job
from crucible_batch.domain.ports import Gateway
from crucible_batch.engine.clock import Clock
from crucible_batch.engine.downloads import Downloader, unavailable
from crucible_batch.engine.poller import Poller
from crucible_batch.errors import GatewayError

LOOK_AGAIN_AFTER_S = 2.0
"""So long after its outputs were saved a job is looked at again: a list that is written after the status is whole by
then, and no job in flight waits for it, since no slot is held."""
LOOKS_AT_ODD = 4
"""So often a list is read that is empty or lacks what it listed before, or whose job is unknown or in another state."""


class LateOutputChecker:
    """Looks at the lists of jobs that have succeeded. What is new is kept for ``fetcher``, since links expire.

    ``on_record`` is told of each look: the price in a job's record may have risen as well.
    """

    def __init__(
        self,
        gateway: Gateway,
        clock: Clock,
        fetcher: Downloader,
        poller: Poller,
        on_record: Callable[[JobSnapshot], None],
    ) -> None:
        self._gateway = gateway
        self._poller = poller
        self._clock = clock
        self._fetcher = fetcher
        self._on_record = on_record

    async def look(self, job: Job, job_id: str) -> Listed | Unavailable:
        """Say what is listed now; what a job has listed before counts where it isn't any more, or the job isn't known.

        ``Unavailable`` where it never listed anything. Raises ``GatewayError`` where the gateway can't be asked.
        """
        known = job.numbers or ()
        snapshot = await self._sound(job_id, known)
        if snapshot is None:
            return self._listed(known)
        if not set(snapshot.numbers) <= set(known):
            self._fetcher.seen(snapshot)
        return self._listed(snapshot.numbers or known)

    async def _sound(self, job_id: str, known: tuple[int, ...]) -> JobSnapshot | None:
        """Return the first look that shows at least what is known; the last one where none does.

        None where the job isn't known. A single 404 is not believed: the gateway knew the job seconds ago.
        """
        for _ in range(LOOKS_AT_ODD - 1):
            snapshot = await self._look(job_id)
            listed = () if snapshot is None or snapshot.status is not JobStatus.SUCCEEDED else snapshot.numbers
            if listed and set(known) <= set(listed):
                return snapshot
            await self._clock.sleep(LOOK_AGAIN_AFTER_S)
        return await self._look(job_id)

    async def _look(self, job_id: str) -> JobSnapshot | None:
        await self._poller.out_of_turn()
        try:
            snapshot = await self._gateway.job(job_id)
        except GatewayError as error:
            if error.status != 404 or not error.is_refusal:
                raise
            return None
        self._on_record(snapshot)
        return snapshot

    def _listed(self, numbers: tuple[int, ...]) -> Listed | Unavailable:
        if numbers:
            return Listed(at=self._clock.now(), numbers=numbers)
        error = unavailable("OUTPUT_MISSING", "the gateway lists no output of the job")
        return Unavailable(at=self._clock.now(), error=error)
