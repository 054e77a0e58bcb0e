"""What became of a job, as a report says it."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from crucible_batch.domain.budget import BLOCKING_CODES
from crucible_batch.domain.gateway_types import ErrorInfo
from crucible_batch.domain.job import Job, Phase
from crucible_batch.errors import ExitCode


class Outcome(enum.StrEnum):
    """What became of a job, in a report."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    BLOCKED = "blocked"
    PENDING = "pending"
    UNKNOWN = "unknown"


class RunStatus(enum.StrEnum):
    """How a run ended, in a report. ``RUNNING`` only while it is going on, or where it was killed."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    STOPPED = "stopped"
    BLOCKED = "blocked"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended.

    ``stops`` maps what was stopped to why: a price class, or ``*`` for the whole run, which comes first. A job that was
    not started is blocked by the stop of its class, else by that of the run.
    """

    status: RunStatus
    exit_code: int
    stops: Mapping[str, ErrorInfo] = field(default_factory=dict)


EVERYTHING = "*"
"""The key in ``Ending.stops`` of a stop that concerns the whole run."""

_STATUS = {
    ExitCode.OK: RunStatus.SUCCEEDED,
    ExitCode.SOME_FAILED: RunStatus.PARTIAL,
    ExitCode.KEY_REFUSED: RunStatus.STOPPED,
    ExitCode.OUT_OF_CREDITS: RunStatus.BLOCKED,
    ExitCode.STOPPED: RunStatus.STOPPED,
    ExitCode.SIGINT: RunStatus.INTERRUPTED,
    ExitCode.SIGTERM: RunStatus.INTERRUPTED,
}

_PRECEDENCE = (
    ExitCode.SIGTERM,
    ExitCode.SIGINT,
    ExitCode.KEY_REFUSED,
    ExitCode.STOPPED,
    ExitCode.OUT_OF_CREDITS,
    ExitCode.SOME_FAILED,
)


def conclude(counts: Mapping[Outcome, int], stops: Mapping[str, ErrorInfo], reasons: Iterable[ExitCode]) -> Ending:
    """Decide how a run ended, from what became of its jobs and the reasons for which it was stopped.

    Where several apply, the first of 130/143, 3, 5, 4, 1 (the exit codes' own order of precedence).
    """
    found = set(reasons)
    if counts.get(Outcome.FAILED):
        found.add(ExitCode.SOME_FAILED)
    if counts.get(Outcome.BLOCKED):
        found.add(ExitCode.OUT_OF_CREDITS)
    if counts.get(Outcome.UNKNOWN) or counts.get(Outcome.PENDING):
        # Whatever left them so has mostly said so itself; a run that leaves jobs behind is never a success.
        found.add(ExitCode.STOPPED)
    if found & {ExitCode.SIGINT, ExitCode.SIGTERM}:
        found.discard(ExitCode.STOPPED)
    code = next((code for code in _PRECEDENCE if code in found), ExitCode.OK)
    status = _STATUS[code]
    if code is ExitCode.SOME_FAILED and not counts.get(Outcome.SUCCEEDED):
        status = RunStatus.FAILED
    return Ending(status, int(code), dict(sorted(stops.items(), key=lambda stop: stop[0] != EVERYTHING)))


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
