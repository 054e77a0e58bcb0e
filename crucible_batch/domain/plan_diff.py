"""What a plan would do about each job, and why: the plan held against what was planned and done before. Pure.

    how far the job is             and besides           why               mark
      SUCCEEDED                    an output is gone     MISSING_OUTPUT    collected
                                   -                     DONE              done
      FETCHING                     -                     NOT_FETCHED       collected
      IN_FLIGHT                    -                     IN_FLIGHT         collected
      SUBMITTING, UNKNOWN          -                     UNANSWERED        collected
      UNAVAILABLE                  -                     UNAVAILABLE       collected
      VANISHED                     -                     VANISHED          collected
      UNREADABLE                   -                     UNREADABLE        failed
      FAILED                       it is to be retried   RETRIED           new
                                   -                     FAILED            failed
      READY, PREPARING             an attempt failed     RETRIED           new
                                   it was begun          NOT_SENT          new
                                   its name was planned  CHANGED           changed
                                   -                     NEVER_RUN         new
      planned before, its name is in the plan no more    GONE              gone

Only what is new or changed is bought.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TypeVar, assert_never

from crucible_batch.domain.attempt import AttemptStatus
from crucible_batch.domain.credits import ZERO, Credits
from crucible_batch.domain.job import Job, Phase
from crucible_batch.domain.plan import InputImage, PlannedJob

_COSTS = {AttemptStatus.ACCEPTED, AttemptStatus.SUCCEEDED, AttemptStatus.VANISHED}


class ChangeKind(enum.StrEnum):
    """What a run would do about a job."""

    NEW = "new"
    CHANGED = "changed"
    COLLECTED = "collected"
    FAILED = "failed"
    DONE = "done"
    GONE = "gone"


class ChangeCause(enum.StrEnum):
    """Why it would do so; the table is at the head of this file."""

    NEVER_RUN = "never_run"
    NOT_SENT = "not_sent"
    RETRIED = "retried"
    CHANGED = "changed"
    IN_FLIGHT = "in_flight"
    NOT_FETCHED = "not_fetched"
    UNANSWERED = "unanswered"
    MISSING_OUTPUT = "missing_output"
    UNAVAILABLE = "unavailable"
    VANISHED = "vanished"
    UNREADABLE = "unreadable"
    FAILED = "failed"
    DONE = "done"
    GONE = "gone"


CHANGE_KINDS: Mapping[ChangeCause, ChangeKind] = {
    ChangeCause.NEVER_RUN: ChangeKind.NEW,
    ChangeCause.NOT_SENT: ChangeKind.NEW,
    ChangeCause.RETRIED: ChangeKind.NEW,
    ChangeCause.CHANGED: ChangeKind.CHANGED,
    ChangeCause.IN_FLIGHT: ChangeKind.COLLECTED,
    ChangeCause.NOT_FETCHED: ChangeKind.COLLECTED,
    ChangeCause.UNANSWERED: ChangeKind.COLLECTED,
    ChangeCause.MISSING_OUTPUT: ChangeKind.COLLECTED,
    ChangeCause.UNAVAILABLE: ChangeKind.COLLECTED,
    ChangeCause.VANISHED: ChangeKind.COLLECTED,
    ChangeCause.UNREADABLE: ChangeKind.FAILED,
    ChangeCause.FAILED: ChangeKind.FAILED,
    ChangeCause.DONE: ChangeKind.DONE,
    ChangeCause.GONE: ChangeKind.GONE,
}


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a job asks for otherwise than before; None where it was, or is, not given."""

    field: str
    before: object
    after: object


@dataclass(frozen=True, slots=True)
class ChangeReason:
    """Why a run would do something about a job, or nothing.

    ``changes`` are those of a changed job, ``code`` is what it failed with, ``paths`` are outputs that are gone.
    ``credits`` is what was paid so far: for this job, or for what went by its name before.
    """

    why: ChangeCause
    changes: tuple[Change, ...] = ()
    code: str | None = None
    paths: tuple[str, ...] = ()
    credits: Credits = ZERO

    @property
    def mark(self) -> ChangeKind:
        return CHANGE_KINDS[self.why]


@dataclass(frozen=True, slots=True)
class ComparedJob:
    """One row of a plan's comparison."""

    name: str
    workflow_id: str
    reason: ChangeReason


@dataclass(frozen=True, slots=True)
class EarlierPlan:
    """A job of an earlier plan, as its past left it."""

    planned: PlannedJob
    job: Job


T = TypeVar("T")


def diff_jobs(
    jobs: Iterable[tuple[PlannedJob, Job]],
    dropped: MutableMapping[str, T],
    *,
    earlier: Callable[[T], EarlierPlan],
    missing: Callable[[Job], tuple[str, ...]],
    retry_failed: bool,
) -> Iterator[ComparedJob]:
    """Compare, in manifest order, and end with what is gone.

    ``dropped`` maps the names of the earlier plan's jobs that nobody asks for any more in the same words to what
    ``earlier`` finds them by; it is used up. ``missing`` says which saved outputs of a job are gone.
    """
    for planned, job in jobs:
        key = dropped.pop(planned.name, None)
        before = earlier(key) if key is not None and _is_untouched(job) else None
        found = change_reason(planned, job, before, missing=missing(job), retry_failed=retry_failed)
        yield ComparedJob(planned.name, planned.workflow_id, found)
    for name, key in dropped.items():
        gone = earlier(key)
        yield ComparedJob(
            name, gone.planned.workflow_id, ChangeReason(ChangeCause.GONE, credits=credits_paid(gone.job))
        )


def change_reason(
    planned: PlannedJob,
    job: Job,
    before: EarlierPlan | None,
    *,
    missing: tuple[str, ...] = (),
    retry_failed: bool = False,
) -> ChangeReason:
    """Say why a run would bring this job on, or why not. ``before`` is what went by its name, if that is another."""
    match job.phase:
        case Phase.SUCCEEDED:
            return ChangeReason(
                ChangeCause.MISSING_OUTPUT if missing else ChangeCause.DONE, paths=missing, credits=credits_paid(job)
            )
        case Phase.FAILED:
            return _of(ChangeCause.RETRIED if retry_failed else ChangeCause.FAILED, job)
        case Phase.READY | Phase.PREPARING:
            return _of_a_fresh_one(planned, job, before)
        case Phase.IN_FLIGHT:
            return _of(ChangeCause.IN_FLIGHT, job)
        case Phase.FETCHING:
            return _of(ChangeCause.NOT_FETCHED, job)
        case Phase.SUBMITTING | Phase.UNKNOWN:
            return _of(ChangeCause.UNANSWERED, job)
        case Phase.UNAVAILABLE:
            return _of(ChangeCause.UNAVAILABLE, job)
        case Phase.VANISHED:
            return _of(ChangeCause.VANISHED, job)
        case Phase.UNREADABLE:
            return _of(ChangeCause.UNREADABLE, job)
        case _:
            assert_never(job.phase)


def _of(why: ChangeCause, job: Job) -> ChangeReason:
    return ChangeReason(why, code=job.error.code if job.error is not None else None, credits=credits_paid(job))


def _of_a_fresh_one(planned: PlannedJob, job: Job, before: EarlierPlan | None) -> ChangeReason:
    failed = next((each for each in reversed(job.attempts) if each.status is AttemptStatus.FAILED), None)
    if failed is not None:
        return ChangeReason(ChangeCause.RETRIED, code=failed.error.code if failed.error is not None else None)
    if not _is_untouched(job):
        return _of(ChangeCause.NOT_SENT, job)
    if before is not None:
        return ChangeReason(
            ChangeCause.CHANGED, changes=tuple(field_changes(before.planned, planned)), credits=credits_paid(before.job)
        )
    return ChangeReason(ChangeCause.NEVER_RUN)


def _is_untouched(job: Job) -> bool:
    return job.phase is Phase.READY and not job.attempts and job.error is None


def credits_paid(job: Job) -> Credits:
    """What a job has cost, or holds, net of refunds."""
    return sum((attempt.credits for attempt in job.attempts if attempt.status in _COSTS), ZERO)


def field_changes(before: PlannedJob, now: PlannedJob) -> Iterator[Change]:
    """Yield what two jobs ask for differently: workflow, parameters, images by their bytes, the repeat index."""
    if before.workflow_id != now.workflow_id:
        yield Change("workflow", before.workflow_id, now.workflow_id)
    for name in sorted(before.params.keys() | now.params.keys()):
        old, new = before.params.get(name), now.params.get(name)
        # 1, 1.0 and True are equal in Python, and different words of a request.
        if (type(old), old, name in before.params) != (type(new), new, name in now.params):
            yield Change(name, old, new)
    for name in sorted(before.images.keys() | now.images.keys()):
        old_image, new_image = before.images.get(name), now.images.get(name)
        if _digest(old_image) != _digest(new_image):
            yield Change(name, _file(old_image), _file(new_image))
    if before.repeat != now.repeat:
        yield Change("repeat", before.repeat, now.repeat)


def _digest(image: InputImage | None) -> str | None:
    return None if image is None else image.spec.sha256


def _file(image: InputImage | None) -> str | None:
    """Name an image, and its bytes by the beginning of their digest: often only they are others."""
    return None if image is None else f"{image.path.name} ({image.spec.sha256[:8]})"
