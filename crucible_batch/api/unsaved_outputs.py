"""Outputs that the gateway lists and that were never saved: a list may have grown after the last look at it."""

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
"""Requests under way at the same time: a run directory may have as many jobs as the gateway will bear in a minute."""


@dataclass(frozen=True, slots=True)
class UnsavedOutputs:
    """A job that lists more outputs than were saved: ``numbers`` are the gateway's of all that it lists."""

    planned: PlannedJob
    job: Job
    retired: bool
    numbers: tuple[int, ...]
    missing: int


async def unsaved(gateway: Gateway, jobs: Iterable[tuple[PlannedJob, Job, bool]]) -> AsyncIterator[UnsavedOutputs]:
    """Ask for each job that has succeeded what it lists now: a request each. The third of a job says if it is retired.

    A job that the gateway doesn't know any more lists nothing new. Raises ``GatewayError`` where it can't be asked.
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
        if error.status == 404 and error.is_refusal:
            return None
        raise
    known = job.expected or 0
    numbers = merge_output_lists(job.numbers, known, snapshot.numbers) or ()
    more = len(numbers) - known
    return UnsavedOutputs(planned, job, retired, snapshot.numbers, more) if more > 0 else None
