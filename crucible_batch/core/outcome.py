"""The outcome of a job and of a run, as in a report."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from crucible_batch.core.budget import BLOCKING_CODES
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, Phase
from crucible_batch.errors import ExitCode


class Outcome(enum.StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    BLOCKED = "blocked"
    PENDING = "pending"
    UNKNOWN = "unknown"


class RunStatus(enum.StrEnum):
    """The status of a run. ``RUNNING`` is that of a running or killed run."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    STOPPED = "stopped"
    BLOCKED = "blocked"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a run.

    ``stops`` maps a price class, or ``*`` for the entire run (first), to the error that stopped it.
    A job that wasn't started is blocked by the stop of its class, else by that of the run.
    ``job_stops`` maps the identities of jobs to errors that count instead: a merged run has jobs of
    one class that were not started for different reasons, and a job whose outputs are saved may
    count as failed.
    """

    status: RunStatus
    exit_code: int
    stops: Mapping[str, ErrorInfo] = field(default_factory=dict)
    job_stops: Mapping[str, ErrorInfo] = field(default_factory=dict)

    @property
    def all_stops(self) -> Mapping[str, ErrorInfo]:
        """The stops by identity, price class, or ``*``, as ``outcome_of`` takes them."""
        if not self.job_stops:
            return self.stops
        return {**self.stops, **self.job_stops}


EVERYTHING = "*"
"""The key in ``Ending.stops`` of a stop that concerns all jobs of the run."""
IN_DOUBT = "in_doubt"
"""The key of why a submit that an earlier run left in doubt isn't sent again: it concerns no other
job.
"""

CHECK_FAILED = "CHECK_FAILED"
"""The code of a job that counts as failed although its outputs are saved, since one of them did not
pass a check."""

SUBMIT_UNANSWERED = "SUBMIT_UNANSWERED"
UNANSWERED = ErrorInfo(
    SUBMIT_UNANSWERED,
    "no answer to its submit was recorded before the run ended, so the job may have been bought; "
    "its credits stay held",
    hint="run the same command again: it sends the job again under the same idempotency key, "
    "so it is bought once only",
)
"""The error of a job whose submit has no answer. During a run the answer may still come."""

_STATUS = {
    ExitCode.OK: RunStatus.SUCCEEDED,
    ExitCode.SOME_FAILED: RunStatus.PARTIAL,
    ExitCode.KEY_REFUSED: RunStatus.STOPPED,
    ExitCode.OUT_OF_CREDITS: RunStatus.BLOCKED,
    ExitCode.STOPPED: RunStatus.STOPPED,
    ExitCode.SIGINT: RunStatus.INTERRUPTED,
    ExitCode.SIGTERM: RunStatus.INTERRUPTED,
}

PRECEDENCE = (
    ExitCode.SIGTERM,
    ExitCode.SIGINT,
    ExitCode.KEY_REFUSED,
    ExitCode.STOPPED,
    ExitCode.OUT_OF_CREDITS,
    ExitCode.SOME_FAILED,
)


def conclude(
    counts: Mapping[Outcome, int],
    stops: Mapping[str, ErrorInfo],
    reasons: Iterable[ExitCode],
    *,
    by_sources: int = 0,
) -> Ending:
    """Return the end of a run by the outcomes of its jobs and the reasons for which it was stopped.

    ``by_sources`` is the number of blocked jobs that the jobs from whose outputs they would be made
    block, and not the lack of credits. If several exit codes apply, the first of 130/143, 3, 5, 4,
    1 (their documented precedence).
    """
    found = set(reasons)
    if counts.get(Outcome.FAILED):
        found.add(ExitCode.SOME_FAILED)
    if by_sources:
        found.add(ExitCode.SOME_FAILED)
    if counts.get(Outcome.BLOCKED, 0) > by_sources:
        found.add(ExitCode.OUT_OF_CREDITS)
    if counts.get(Outcome.UNKNOWN) or counts.get(Outcome.PENDING):
        # Mostly there is a reason for it already; a run that leaves jobs behind is never a success.
        found.add(ExitCode.STOPPED)
    if found & {ExitCode.SIGINT, ExitCode.SIGTERM}:
        found.discard(ExitCode.STOPPED)
    code = next((code for code in PRECEDENCE if code in found), ExitCode.OK)
    status = _STATUS[code]
    if code is ExitCode.SOME_FAILED and not counts.get(Outcome.SUCCEEDED):
        status = RunStatus.FAILED
    return Ending(
        status, int(code), dict(sorted(stops.items(), key=lambda stop: stop[0] != EVERYTHING))
    )


def outcome_of(
    job: Job, price_class: str, stops: Mapping[str, ErrorInfo]
) -> tuple[Outcome, ErrorInfo | None]:
    """Return a job's outcome, and the error if it isn't a success.

    ``stops`` are those of the newest run, by the job's identity, its class, or ``*``: the first of
    them counts. A job that wasn't started for lack of credits is blocked, not failed. One whose
    outputs are saved has failed if there is an error for its identity.
    """
    match job.phase:
        case Phase.SUCCEEDED:
            verdict = stops.get(job.identity)
            if verdict is None:
                return Outcome.SUCCEEDED, None
            return Outcome.FAILED, verdict
        case Phase.FAILED | Phase.UNAVAILABLE | Phase.VANISHED:
            return Outcome.FAILED, job.error
        case Phase.SUBMITTING:
            return Outcome.UNKNOWN, job.error or UNANSWERED
        case Phase.UNKNOWN if job.error is not None and job.error.hint is None:
            return Outcome.UNKNOWN, replace(job.error, hint=UNANSWERED.hint)
        case Phase.UNKNOWN | Phase.UNREADABLE:
            return Outcome.UNKNOWN, job.error
        case Phase.READY | Phase.PREPARING:
            stop = stops.get(job.identity) or stops.get(price_class) or stops.get(EVERYTHING)
            if stop is not None and stop.code in BLOCKING_CODES:
                return Outcome.BLOCKED, stop
            return Outcome.PENDING, job.error or stop
        case Phase.BLOCKED:
            return Outcome.BLOCKED, job.error
        case Phase.IN_FLIGHT | Phase.FETCHING:
            return Outcome.PENDING, job.error
        case _:
            assert_never(job.phase)
