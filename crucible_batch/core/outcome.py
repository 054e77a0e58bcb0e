"""What became of a job, as a report says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from crucible_batch.core.answers import ErrorInfo
from crucible_batch.core.budget import BLOCKING_CODES
from crucible_batch.core.ending import EVERYTHING, Outcome
from crucible_batch.core.job import Job, Phase


def outcome_of(job: Job, price_class: str, stops: Mapping[str, ErrorInfo]) -> tuple[Outcome, ErrorInfo | None]:
    """Say what became of a job, and the error that tells why it isn't a success.

    ``stops`` are those of the newest run: a job that wasn't started for want of credits is blocked, not failed.
    """
    match job.phase:
        case Phase.SUCCEEDED:
            return Outcome.SUCCEEDED, None
        case Phase.FAILED | Phase.UNAVAILABLE | Phase.VANISHED:
            return Outcome.FAILED, job.error
        case Phase.UNKNOWN | Phase.SUBMITTING | Phase.UNREADABLE:
            return Outcome.UNKNOWN, job.error
        case Phase.READY | Phase.PREPARING:
            stop = stops.get(price_class) or stops.get(EVERYTHING)
            if stop is not None and stop.code in BLOCKING_CODES:
                return Outcome.BLOCKED, stop
            return Outcome.PENDING, job.error or stop
        case Phase.IN_FLIGHT | Phase.FETCHING:
            return Outcome.PENDING, job.error
        case _:
            assert_never(job.phase)
