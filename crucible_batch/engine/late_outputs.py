"""Reads a succeeded job's list of outputs again: the contract does not promise that it is complete
at the job's end.
"""

from __future__ import annotations

from collections.abc import Callable

from crucible_batch.core.events import Listed, Unavailable
from crucible_batch.core.gateway_types import JobSnapshot, JobStatus
from crucible_batch.core.job import Job
from crucible_batch.engine.clock import Clock
from crucible_batch.engine.downloads import Downloader, unavailable
from crucible_batch.engine.poller import Poller

LOOK_AGAIN_AFTER_S = 2.0
"""Delay between saving a job's outputs and reading its list again. No slot is held meanwhile."""
LOOKS_AT_ODD = 4
"""Readings before a list is accepted that is empty or shorter than before, or whose job has not
succeeded."""


class LateOutputChecker:
    """Reads the lists of succeeded jobs. New links are handed to ``fetcher``, since links expire.

    ``on_record`` receives each record read, since its price may have risen as well.
    """

    def __init__(
        self,
        clock: Clock,
        fetcher: Downloader,
        poller: Poller,
        on_record: Callable[[JobSnapshot], None],
    ) -> None:
        self._poller = poller
        self._clock = clock
        self._fetcher = fetcher
        self._on_record = on_record

    async def look(self, job: Job, job_id: str) -> Listed | Unavailable:
        """Return the job's listed outputs; those listed before, if the list is now empty or the job
        unknown.

        ``Unavailable`` if it never listed any. Raises ``GatewayError`` if the gateway can't be
        reached.
        """
        known = job.numbers or ()
        snapshot = await self._read_until_complete(job_id, known)
        if snapshot is None:
            return self._listed(known)
        if not set(snapshot.numbers) <= set(known):
            self._fetcher.seen(snapshot)
        return self._listed(snapshot.numbers or known)

    async def _read_until_complete(self, job_id: str, known: tuple[int, ...]) -> JobSnapshot | None:
        """Return the first record that lists at least ``known``, else the last one read.

        None if the job is unknown.
        """
        snapshot = await self._read(job_id)
        for _ in range(LOOKS_AT_ODD - 1):
            if snapshot is None or _is_complete(snapshot, known):
                break
            await self._clock.sleep(LOOK_AGAIN_AFTER_S)
            snapshot = await self._read(job_id)
        return snapshot

    async def _read(self, job_id: str) -> JobSnapshot | None:
        snapshot = await self._poller.read(job_id)
        if snapshot is not None:
            self._on_record(snapshot)
        return snapshot

    def _listed(self, numbers: tuple[int, ...]) -> Listed | Unavailable:
        if numbers:
            return Listed(at=self._clock.now(), numbers=numbers)
        error = unavailable("OUTPUT_MISSING", "the gateway lists no outputs for the job")
        return Unavailable(at=self._clock.now(), error=error)


def _is_complete(snapshot: JobSnapshot, known: tuple[int, ...]) -> bool:
    listed = snapshot.numbers
    is_whole = bool(listed) and set(known) <= set(listed)
    return is_whole and snapshot.status is JobStatus.SUCCEEDED
