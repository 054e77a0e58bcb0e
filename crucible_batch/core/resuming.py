"""What a new run does with a job that an earlier run has left: how it continues, and whether it may
be sent again.
"""

from __future__ import annotations

from msgspec.structs import replace

from crucible_batch.core.job import Job, Phase
from crucible_batch.core.retry_rule import KEY_REUSED

_CLOCK_SLACK_S = 300.0
"""A clock that was set back by more makes the age of a key unknown, and an unknown age counts as
too old."""


def resume_job(job: Job) -> Job:
    """Return the job as a new run resumes it.

    An unanswered submit is in doubt, an unavailable or vanished job is requested again, an ended
    job is unchanged.
    """
    match job.phase:
        case Phase.SUBMITTING | Phase.UNKNOWN:
            return replace(job, phase=Phase.SUBMITTING, in_doubt=True)
        case Phase.UNAVAILABLE:
            return replace(job, phase=Phase.FETCHING, error=None)
        case Phase.VANISHED:
            return replace(job, phase=Phase.IN_FLIGHT)
        case _:
            return job


def may_reopen(job: Job, *, buys_again: bool) -> bool:
    """Return whether another attempt at a failed job may be made.

    ``buys_again``: also if the gateway has refused it since a run directory that is lost has bought
    it before.
    """
    error = job.current.error if job.attempts else None
    return job.phase is Phase.FAILED and (buys_again or error is None or error.code != KEY_REUSED)


def key_may_be_forgotten(job: Job, now: float, key_ttl_s: float) -> bool:
    """Whether a submit was never answered and its key is too old to be sent again.

    ``now`` is the wall clock in seconds since the epoch; ``key_ttl_s`` is how long the gateway is
    trusted to remember a key. After that the same submit may be a second purchase.
    """
    if job.phase not in {Phase.SUBMITTING, Phase.UNKNOWN}:
        return False
    return not -_CLOCK_SLACK_S <= now - job.current.held_at <= key_ttl_s
