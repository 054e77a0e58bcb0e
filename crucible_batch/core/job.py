"""A job as a value: its identity, its phase and its next command (the Decider pattern).

    decide : Job -> Command | None      the next command
    evolve : Job, Event -> Job          the job after an event

The phases of a job. ``decide`` reads nothing but the job:

    phase        command           events that change the phase
    READY        Hold              Held -> PREPARING (with images) or SUBMITTING; Refused -> FAILED
    PREPARING    Prepare           Prepared -> SUBMITTING; HoldReleased -> READY; Refused -> FAILED
    SUBMITTING   Submit            Accepted -> IN_FLIGHT; HoldReleased -> READY; Refused -> FAILED;
                                   SubmitUnknown -> UNKNOWN
    IN_FLIGHT    Poll              Succeeded -> FETCHING; JobLost -> VANISHED;
                                   Failed -> READY (next attempt) or FAILED
    FETCHING     Fetch (an output) Saved -> FETCHING or SUCCEEDED; Unavailable -> UNAVAILABLE
                 or RecheckOutputs Listed -> FETCHING or SUCCEEDED; Unavailable -> UNAVAILABLE
    SUCCEEDED    -                 Missed, Listed (more) -> FETCHING; Relocated -> SUCCEEDED
    FAILED       -                 Reopened -> READY
    UNKNOWN      -                 -      (a new run: SUBMITTING, in doubt)
    UNAVAILABLE  -                 -      (a new run: FETCHING)
    VANISHED     -                 -      (a new run: IN_FLIGHT)
    BLOCKED      -                 -      (no request is planned for it: `PlannedJob.obstacle`)
    UNREADABLE   -                 -      (permanent: its journal holds an impossible event)

``Relocated`` changes no phase, and may happen wherever there are outputs; nor does ``Repriced``,
from IN_FLIGHT on, nor do ``Refunded``, ``Consumed`` and ``RefundForgotten``, which concern an
attempt that has failed, in any phase.

``SUBMITTING`` is the only phase in which the gateway's state is unknown: the key may be in use.
Sending the same key again resolves it, so a job that was left in this phase is ``in_doubt``, and no
refusal may then release its hold.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from crucible_batch.core.attempt import Attempt, AttemptStatus, RefundEvent, repriced
from crucible_batch.core.events import (
    Accepted,
    Consumed,
    Event,
    Failed,
    Held,
    HoldReleased,
    JobEvent,
    JobLost,
    Listed,
    Missed,
    Prepared,
    Refunded,
    RefundForgotten,
    Refused,
    Relocated,
    Reopened,
    Repriced,
    Saved,
    SubmitUnknown,
    Succeeded,
    Unavailable,
    event_name,
    is_job_event,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.identity import idempotency_key
from crucible_batch.core.output_list import merge_output_lists
from crucible_batch.core.retry_rule import KEY_REUSED, RetryRule

IMPOSSIBLE_HISTORY = "IMPOSSIBLE_HISTORY"


class Phase(enum.StrEnum):
    """The phase of a job; the table is at the head of this file."""

    READY = "ready"
    PREPARING = "preparing"
    SUBMITTING = "submitting"
    IN_FLIGHT = "in_flight"
    FETCHING = "fetching"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    UNAVAILABLE = "unavailable"
    VANISHED = "vanished"
    UNREADABLE = "unreadable"
    BLOCKED = "blocked"

    __hash__ = str.__hash__  # that of an enum is written in Python, and phases are in many sets


class Job(Struct, frozen=True):
    """One generation of the plan.

    ``attempt`` is the number of the current or next attempt. ``outputs`` maps indices to saved
    outputs, ``missed`` to saved outputs that are no longer on disk. ``expected`` is the number of
    outputs, None until the job has succeeded; ``numbers`` are the gateway's numbers of them, if
    recorded. ``may_grow``: the list is read again once all are saved.
    """

    identity: str
    has_images: bool = False
    rule: RetryRule = field(default_factory=RetryRule)
    phase: Phase = Phase.READY
    attempt: int = 1
    attempts: tuple[Attempt, ...] = ()
    in_doubt: bool = False
    assets: Mapping[str, str] = field(default_factory=dict)
    expected: int | None = None
    numbers: tuple[int, ...] | None = None
    may_grow: bool = False
    outputs: Mapping[int, Saved] = field(default_factory=dict)
    missed: Mapping[int, Saved] = field(default_factory=dict)
    error: ErrorInfo | None = None

    @property
    def key(self) -> str:
        """The idempotency key of the current or next attempt."""
        return idempotency_key(self.identity, self.attempt)

    @property
    def current(self) -> Attempt:
        """The newest attempt. Raises ``IndexError`` if there is none."""
        return self.attempts[-1]

    def number_of(self, index: int) -> int | None:
        """Return the gateway's number of an output, None if it wasn't recorded."""
        if self.numbers is None:
            return None
        return self.numbers[index]

    @property
    def is_settled(self) -> bool:
        """Whether no run does anything more for it unless the user asks."""
        return self.phase in {Phase.SUCCEEDED, Phase.FAILED}


@dataclass(frozen=True, slots=True)
class Hold:
    """Hold credits for the next attempt."""


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make every input image ready at the gateway."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Send the attempt's key until there is a definite answer."""


@dataclass(frozen=True, slots=True)
class Poll:
    """Wait until the gateway job has ended."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """Download one output."""

    job_id: str
    index: int


@dataclass(frozen=True, slots=True)
class RecheckOutputs:
    """Check after a delay whether more outputs are listed than are saved."""

    job_id: str


Command = Hold | Prepare | Submit | Poll | Fetch | RecheckOutputs


def decide(job: Job) -> Command | None:
    """Return the job's next command, None if there is nothing more to do in this run."""
    match job.phase:
        case Phase.READY:
            return Hold()
        case Phase.PREPARING:
            return Prepare()
        case Phase.SUBMITTING:
            return Submit()
        case Phase.IN_FLIGHT:
            return Poll(_job_id(job))
        case Phase.FETCHING:
            for index in range(job.expected or 0):
                if index not in job.outputs:
                    return Fetch(_job_id(job), index)
            return RecheckOutputs(_job_id(job))
        case (
            Phase.SUCCEEDED
            | Phase.FAILED
            | Phase.UNKNOWN
            | Phase.UNAVAILABLE
            | Phase.VANISHED
            | Phase.UNREADABLE
            | Phase.BLOCKED
        ):
            return None


def evolve(job: Job, event: JobEvent) -> Job:
    """Return the job after ``event``.

    Raises ``ValueError`` for an event that is impossible in its phase.
    """
    if job.phase not in ALLOWED_PHASES[type(event)]:
        raise ValueError(
            f"the event {event_name(event)} is impossible for a job that is {job.phase.value}"
        )
    return _EFFECTS[type(event)](job, event)


def replay(job: Job, events: Iterable[Event]) -> Job:
    """Return the job after a journal's events.

    With the first impossible event it becomes unreadable and keeps the state before it.
    """
    for event in events:
        if not is_job_event(event):
            return _unreadable(job, f"the event {event_name(event)} is impossible for a job")
        try:
            job = evolve(job, event)
        except ValueError as error:
            return _unreadable(job, str(error))
    return job


def _unreadable(job: Job, why: str) -> Job:
    error = ErrorInfo(
        IMPOSSIBLE_HISTORY,
        f"the journal contradicts itself about this job ({why}); "
        "nothing more is bought for it, and its holds are kept",
        hint="restore the run directory from a backup; or search for the job with "
        "crucible-batch check, and if it is missing there, run it with another --run-id",
    )
    return replace(job, phase=Phase.UNREADABLE, error=error)


_ALWAYS_LATE = frozenset({Phase.IN_FLIGHT, Phase.VANISHED})
_READABLE = frozenset(Phase) - {Phase.UNREADABLE}
ALLOWED_PHASES: Mapping[type[JobEvent], frozenset[Phase]] = {
    # Another attempt may follow a failure after which the retry rule at that time allowed it, and
    # today's doesn't.
    Held: frozenset({Phase.READY, Phase.FAILED}),
    Prepared: frozenset({Phase.PREPARING}),
    Accepted: frozenset({Phase.SUBMITTING, Phase.UNKNOWN}),
    HoldReleased: frozenset({Phase.READY, Phase.PREPARING, Phase.SUBMITTING}),
    Refused: frozenset({Phase.READY, Phase.FAILED, Phase.PREPARING, Phase.SUBMITTING}),
    SubmitUnknown: frozenset({Phase.SUBMITTING, Phase.UNKNOWN}),
    Repriced: frozenset({*_ALWAYS_LATE, Phase.FETCHING, Phase.SUCCEEDED, Phase.UNAVAILABLE}),
    Succeeded: _ALWAYS_LATE,
    Failed: _ALWAYS_LATE,
    # An attempt that has failed stays in the past of its job, whatever becomes of the next one.
    Refunded: _READABLE,
    Consumed: _READABLE,
    RefundForgotten: _READABLE,
    JobLost: _ALWAYS_LATE,
    Saved: frozenset({Phase.FETCHING, Phase.UNAVAILABLE}),
    Missed: frozenset({Phase.SUCCEEDED, Phase.FETCHING, Phase.UNAVAILABLE}),
    Relocated: frozenset({Phase.SUCCEEDED, Phase.FETCHING, Phase.UNAVAILABLE}),
    Listed: frozenset({Phase.FETCHING, Phase.SUCCEEDED, Phase.UNAVAILABLE}),
    Unavailable: frozenset({Phase.FETCHING, Phase.UNAVAILABLE}),
    Reopened: frozenset({Phase.FAILED, Phase.READY}),
}


_ENDED_BY: Mapping[type[JobEvent], tuple[AttemptStatus, Phase]] = {
    HoldReleased: (AttemptStatus.DECLINED, Phase.READY),
    Refused: (AttemptStatus.REFUSED, Phase.FAILED),
    SubmitUnknown: (AttemptStatus.UNKNOWN, Phase.UNKNOWN),
    JobLost: (AttemptStatus.VANISHED, Phase.VANISHED),
}
"""The states of the attempt and of its job after an event that gives the attempt up."""


def _job_id(job: Job) -> str:
    job_id = job.current.job_id
    if job_id is None:
        raise ValueError(f"a job that is {job.phase.value} has no gateway job id")
    return job_id


def _with_current(job: Job, **changes: Any) -> tuple[Attempt, ...]:
    """Return the job's attempts with changed fields of the newest."""
    return (*job.attempts[:-1], replace(job.current, **changes))


def _held(job: Job, event: Held) -> Job:
    attempt = Attempt(number=event.attempt, key=event.key, held_at=event.at)
    earlier = tuple(earlier for earlier in job.attempts if earlier.number != event.attempt)
    return replace(
        job,
        phase=Phase.PREPARING if job.has_images else Phase.SUBMITTING,
        attempt=event.attempt,
        attempts=(*earlier, attempt),
        in_doubt=False,
        error=None,
    )


def _prepared(job: Job, event: Prepared) -> Job:
    attempts = _with_current(job, prepared_at=event.at)
    return replace(job, phase=Phase.SUBMITTING, assets=event.assets, attempts=attempts)


def _given_up(job: Job, event: HoldReleased | Refused | SubmitUnknown | JobLost) -> Job:
    status, phase = _ENDED_BY[type(event)]
    ended = _closed(job, status, event.error, event.at, phase)
    return replace(ended, in_doubt=ended.in_doubt or isinstance(event, SubmitUnknown))


def _repriced(job: Job, event: Repriced) -> Job:
    attempt = repriced(job.current, event.credits, has_succeeded=event.settled is not None)
    return replace(job, attempts=(*job.attempts[:-1], attempt))


def _closed(
    job: Job,
    status: AttemptStatus,
    error: ErrorInfo | None,
    at: float,
    phase: Phase,
    *,
    running_at: float | None = None,
) -> Job:
    """End the current attempt, if one was begun, and change to ``phase``."""
    if not job.attempts or job.phase in {Phase.READY, Phase.FAILED}:
        return replace(job, phase=phase, error=error)
    attempts = _with_current(job, status=status, error=error, ended_at=at, running_at=running_at)
    return replace(job, phase=phase, error=error, attempts=attempts)


def _accepted(job: Job, event: Accepted) -> Job:
    attempts = _with_current(
        job,
        status=AttemptStatus.ACCEPTED,
        job_id=event.job_id,
        credits=event.credits,
        reused=event.reused,
        accepted_at=event.at,
    )
    return replace(job, phase=Phase.IN_FLIGHT, attempts=attempts, in_doubt=False, error=None)


def _succeeded(job: Job, event: Succeeded) -> Job:
    ended = _closed(
        job, AttemptStatus.SUCCEEDED, None, event.at, Phase.FETCHING, running_at=event.running_at
    )
    return replace(
        ended,
        expected=event.outputs,
        numbers=event.numbers,
        may_grow=event.numbers is not None,
    )


def _after_refund(job: Job, event: RefundEvent) -> Job:
    attempts = [
        attempt.after(event) if attempt.number == event.attempt else attempt
        for attempt in job.attempts
    ]
    return replace(job, attempts=tuple(attempts))


def _failed(job: Job, event: Failed) -> Job:
    failed = _closed(
        job, AttemptStatus.FAILED, event.error, event.at, Phase.FAILED, running_at=event.running_at
    )
    if job.rule.allows_another(job.attempt, event.error.code):
        return replace(failed, phase=Phase.READY, attempt=_next_number(failed))
    return failed


def _next_number(job: Job) -> int:
    """Return the next attempt's number.

    A key that the gateway accepted is used up, and so is one that it knows with another request;
    any other refused key is not.
    """
    if not job.attempts or job.current.number != job.attempt:
        return job.attempt
    is_known = job.current.error is not None and job.current.error.code == KEY_REUSED
    if job.current.job_id is not None or is_known:
        return job.attempt + 1
    return job.attempt


def _saved(job: Job, event: Saved) -> Job:
    outputs = {**job.outputs, event.index: event}
    phase = Phase.FETCHING
    if len(outputs) >= (job.expected or 0) and not job.may_grow:
        phase = Phase.SUCCEEDED
    missed = _without(job.missed, event.index)
    return replace(job, outputs=outputs, missed=missed, phase=phase, error=None)


def _listed(job: Job, event: Listed) -> Job:
    known = job.expected or 0
    numbers = merge_output_lists(job.numbers, known, event.numbers)
    expected = max(known, len(numbers or ()))
    phase = Phase.FETCHING if expected > min(known, len(job.outputs)) else Phase.SUCCEEDED
    return replace(job, phase=phase, numbers=numbers, expected=expected, may_grow=expected > known)


def _missed(job: Job, event: Missed) -> Job:
    missed = dict(job.missed)
    if event.index in job.outputs:
        missed[event.index] = job.outputs[event.index]
    outputs = _without(job.outputs, event.index)
    return replace(job, phase=Phase.FETCHING, outputs=outputs, missed=missed)


def _unavailable(job: Job, event: Unavailable) -> Job:
    return replace(job, phase=Phase.UNAVAILABLE, error=event.error)


def _reopened(job: Job, _event: Reopened) -> Job:
    return replace(job, phase=Phase.READY, attempt=_next_number(job), error=None)


def _relocated(job: Job, event: Relocated) -> Job:
    if event.index not in job.outputs:
        return job  # missed in the meantime: it is saved again at its planned path
    moved = replace(job.outputs[event.index], path=event.path)
    return replace(job, outputs={**job.outputs, event.index: moved})


def _without(outputs: Mapping[int, Saved], index: int) -> Mapping[int, Saved]:
    return {number: output for number, output in outputs.items() if number != index}


_EFFECTS: Mapping[type[JobEvent], Callable[[Job, Any], Job]] = {
    Held: _held,
    Prepared: _prepared,
    Accepted: _accepted,
    HoldReleased: _given_up,
    Refused: _given_up,
    SubmitUnknown: _given_up,
    Repriced: _repriced,
    Succeeded: _succeeded,
    Listed: _listed,
    Failed: _failed,
    Refunded: _after_refund,
    Consumed: _after_refund,
    RefundForgotten: _after_refund,
    JobLost: _given_up,
    Saved: _saved,
    Unavailable: _unavailable,
    Missed: _missed,
    Relocated: _relocated,
    Reopened: _reopened,
}
"""By the type of the event: all jobs are replayed at each start and for each report, and asking a
struct for its class (``match``) takes ten times as long as a dictionary, for each ``case``."""
