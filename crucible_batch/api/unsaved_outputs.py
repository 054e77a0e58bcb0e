"""Outputs that the gateway lists but that were never saved: a list may have grown after it was last read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from itertools import islice

from crucible_batch.domain.job import Job, Phase
from crucible_batch.domain.output_list import merge_output_lists
from crucible_batch.domain.plan import PlannedJob
from crucible_batch.domain.ports import Gateway
from crucible_batch.errors import GatewayError

_AT_ONCE = 8
"""The number of concurrent requests. A run directory may have as many jobs as the gateway accepts requests a minute."""


@dataclass(frozen=True, slots=True)
class UnsavedOutputs:
    """A job with more listed than saved outputs. ``numbers`` are the gateway's numbers of all listed outputs.

    ``missing`` is how many of them were not saved.
    """

    planned: PlannedJob
    job: Job
    retired: bool
    numbers: tuple[int, ...]
    missing: int


async def unsaved(gateway: Gateway, jobs: Iterable[tuple[PlannedJob, Job, bool]]) -> AsyncIterator[UnsavedOutputs]:
    """Yield the jobs for which the gateway now lists more outputs. Sends one request for each job that has succeeded.

    ``jobs`` are as from ``jobs_with_past``: the third value is true for retired jobs. A job that the gateway no longer
    knows has no new outputs. Raises ``GatewayError`` if a request fails.
    """
    whole = (found for found in jobs if found[1].phase is Phase.SUCCEEDED)
    while batch := list(islice(whole, _AT_ONCE)):
        looks = await asyncio.gather(*(_look(gateway, *found) for found in batch), return_exceptions=True)
        for look in looks:
            if isinstance(look, BaseException):
                raise look
            if look is not None:
                yield look


async def _look(gateway: Gateway, planned: PlannedJob, job: Job, retired: bool) -> UnsavedOutputs | None:
    try:
        snapshot = await gateway.job(job.current.job_id or "")
    except GatewayError as error:
        if error.is_not_found:
            return None
        raise
    known = job.expected or 0
    numbers = merge_output_lists(job.numbers, known, snapshot.numbers) or ()
    more = len(numbers) - known
    return UnsavedOutputs(planned, job, retired, snapshot.numbers, more) if more > 0 else None
