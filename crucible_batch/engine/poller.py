"""Waiting for jobs to end: looks that are spread so that the gateway is asked seldom and the end is seen soon."""

from __future__ import annotations

from dataclasses import replace

from crucible_batch.core.answers import JobSnapshot, JobStatus
from crucible_batch.core.polling import ServiceTimes, next_look_s
from crucible_batch.core.ports import Gateway
from crucible_batch.engine.clock import Clock

_EMPTY_LOOKS = 4
"""So often a job that has succeeded and lists no output is looked at again: its list may lag behind its status, and
how many outputs there are is read off it once."""


class Poller:
    """Looks at jobs until they end."""

    def __init__(self, gateway: Gateway, clock: Clock, times: ServiceTimes, *, job_timeout_s: float) -> None:
        self._gateway = gateway
        self._clock = clock
        self._times = times
        self._job_timeout_s = job_timeout_s
        self._in_flight = 0

    async def until_ended(self, job_id: str, workflow_id: str, *, look_at_once: bool) -> JobSnapshot | None:
        """Return the job once it has succeeded or failed; None where the job's timeout passed before.

        ``look_at_once`` is for a job that was accepted some time ago: then how long it has taken teaches nothing.
        Raises ``GatewayError`` where the gateway doesn't know the job, or can't be asked.
        """
        began = self._clock.monotonic()
        running_at: float | None = None
        self._in_flight += 1
        try:
            wait_s = 0.0 if look_at_once else self._wait_s(workflow_id, 0.0)
            empty_looks = 0
            while True:
                await self._clock.sleep(wait_s)
                snapshot = await self._gateway.job(job_id)
                age_s = self._clock.monotonic() - began
                if snapshot.status is JobStatus.SUCCEEDED and not snapshot.outputs and empty_looks < _EMPTY_LOOKS:
                    empty_looks += 1
                elif snapshot.status in {JobStatus.SUCCEEDED, JobStatus.FAILED}:
                    if not look_at_once:
                        self._times.saw(workflow_id, age_s)
                    return replace(snapshot, running_at=running_at)
                if snapshot.status is JobStatus.RUNNING and running_at is None:
                    running_at = self._clock.now()
                if age_s >= self._job_timeout_s:
                    return None
                wait_s = min(self._wait_s(workflow_id, age_s), max(self._job_timeout_s - age_s, 0.0))
        finally:
            self._in_flight -= 1

    def _wait_s(self, workflow_id: str, age_s: float) -> float:
        return next_look_s(age_s, self._times.expected_s(workflow_id), self._in_flight)
