"""What a run of a plan would do with each job, and the reason, compared with earlier plans and
runs.

    phase of the job               condition             why               mark
      SUCCEEDED                    an output is gone     MISSING_OUTPUT    collected
                                   one has another size  CHANGED_OUTPUT    collected
                                   -                     DONE              done
      FETCHING                     -                     NOT_FETCHED       collected
      IN_FLIGHT                    -                     IN_FLIGHT         collected
      SUBMITTING, UNKNOWN          -                     UNANSWERED        collected
      UNAVAILABLE                  -                     UNAVAILABLE       collected
      VANISHED                     -                     VANISHED          collected
      UNREADABLE                   -                     UNREADABLE        failed
      FAILED                       it is to be retried   RETRIED           new
                                   -                     FAILED            failed
      BLOCKED                      -                     BLOCKED           failed
      READY, PREPARING             an attempt failed     RETRIED           new
                                   it was begun          NOT_SENT          new
                                   its name was planned  CHANGED           changed
                                   generation above 0    CHANGED           changed
                                   -                     NEVER_RUN         new
      planned before, name no longer in the plan         GONE              gone

Only new and changed jobs are bought.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TypeVar

from crucible_batch.core.attempt import AttemptStatus, credits_paid
from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job, Phase
from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.core.redaction import clean, truncate


class ChangeKind(enum.StrEnum):
    NEW = "new"
    CHANGED = "changed"
    COLLECTED = "collected"
    FAILED = "failed"
    DONE = "done"
    GONE = "gone"


class ChangeCause(enum.StrEnum):
    """The cause of a change: see the table at the head of this file."""

    NEVER_RUN = "never_run"
    NOT_SENT = "not_sent"
    RETRIED = "retried"
    CHANGED = "changed"
    IN_FLIGHT = "in_flight"
    NOT_FETCHED = "not_fetched"
    UNANSWERED = "unanswered"
    MISSING_OUTPUT = "missing_output"
    CHANGED_OUTPUT = "changed_output"
    UNAVAILABLE = "unavailable"
    VANISHED = "vanished"
    UNREADABLE = "unreadable"
    FAILED = "failed"
    BLOCKED = "blocked"
    DONE = "done"
    GONE = "gone"


_KINDS = {
    ChangeCause.NEVER_RUN: ChangeKind.NEW,
    ChangeCause.NOT_SENT: ChangeKind.NEW,
    ChangeCause.RETRIED: ChangeKind.NEW,
    ChangeCause.CHANGED: ChangeKind.CHANGED,
    ChangeCause.UNREADABLE: ChangeKind.FAILED,
    ChangeCause.FAILED: ChangeKind.FAILED,
    ChangeCause.BLOCKED: ChangeKind.FAILED,
    ChangeCause.DONE: ChangeKind.DONE,
    ChangeCause.GONE: ChangeKind.GONE,
}
"""All other causes are ``COLLECTED``."""


@dataclass(frozen=True, slots=True)
class Change:
    """One changed field of a job.

    ``before`` or ``after`` is None if the field was or is not given.
    """

    field: str
    before: object
    after: object


@dataclass(frozen=True, slots=True)
class ChangeReason:
    """The reason for a job's row of the comparison.

    ``changes`` are those of a changed job, ``code`` is the error code of its failure, ``missing``
    and ``resized`` are the paths of outputs that are gone or have another size than was saved.
    ``credits`` is the amount paid so far for this job, or for the earlier job of the same name.
    """

    why: ChangeCause
    changes: tuple[Change, ...] = ()
    code: str | None = None
    missing: tuple[str, ...] = ()
    resized: tuple[str, ...] = ()
    credits: Credits = ZERO

    @property
    def mark(self) -> ChangeKind:
        return _KINDS.get(self.why, ChangeKind.COLLECTED)


@dataclass(frozen=True, slots=True)
class ComparedJob:
    """One row of a plan's comparison."""

    name: str
    workflow_id: str
    reason: ChangeReason


@dataclass(frozen=True, slots=True)
class EarlierPlan:
    """A job of an earlier plan in its present state."""

    planned: PlannedJob
    job: Job


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """The paths of a job's outputs that are not on disk as they were saved: gone, or of another
    size.
    """

    missing: tuple[str, ...] = ()
    resized: tuple[str, ...] = ()


T = TypeVar("T")


def diff_jobs(
    jobs: Iterable[tuple[PlannedJob, Job]],
    dropped: MutableMapping[str, T],
    *,
    earlier: Callable[[T], EarlierPlan],
    to_fetch: Callable[[Job], OutputPaths],
    retries: Callable[[Job], bool],
) -> Iterator[ComparedJob]:
    """Yield the rows of the plan's jobs in manifest order, then those of the jobs that are gone.

    ``dropped`` has the earlier plan's jobs that are not in this plan unchanged, by name: keys for
    ``earlier``. It is modified. ``to_fetch`` returns the outputs of a succeeded job that are to be
    fetched again, and ``retries`` whether a run makes another attempt at a failed job.
    """
    for planned, job in jobs:
        key = dropped.pop(planned.name, None)
        before = None
        if key is not None and _is_untouched(job):
            before = earlier(key)
        found = change_reason(
            planned, job, before, to_fetch=to_fetch(job), retry_failed=retries(job)
        )
        yield ComparedJob(planned.name, planned.workflow_id, found)
    for name, key in dropped.items():
        gone = earlier(key)
        yield ComparedJob(
            name,
            gone.planned.workflow_id,
            ChangeReason(ChangeCause.GONE, credits=credits_paid(gone.job.attempts)),
        )


def change_reason(
    planned: PlannedJob,
    job: Job,
    before: EarlierPlan | None,
    *,
    to_fetch: OutputPaths = OutputPaths(),
    retry_failed: bool = False,
) -> ChangeReason:
    """Return the reason by the table at the head of this file.

    ``before`` is the earlier plan's job of the same name, if it differs.
    """
    match job.phase:
        case Phase.SUCCEEDED:
            return _reason_of_done(job, to_fetch)
        case Phase.FAILED:
            return _with_code(ChangeCause.RETRIED if retry_failed else ChangeCause.FAILED, job)
        case Phase.READY | Phase.PREPARING:
            return _reason_of_unsent(planned, job, before)
        case phase:
            return _with_code(_CAUSES[phase], job)


def _reason_of_done(job: Job, to_fetch: OutputPaths) -> ChangeReason:
    missing, resized = to_fetch.missing, to_fetch.resized
    why = ChangeCause.DONE
    if missing:
        why = ChangeCause.MISSING_OUTPUT
    elif resized:
        why = ChangeCause.CHANGED_OUTPUT
    return ChangeReason(why, missing=missing, resized=resized, credits=credits_paid(job.attempts))


_CAUSES = {
    Phase.IN_FLIGHT: ChangeCause.IN_FLIGHT,
    Phase.FETCHING: ChangeCause.NOT_FETCHED,
    Phase.SUBMITTING: ChangeCause.UNANSWERED,
    Phase.UNKNOWN: ChangeCause.UNANSWERED,
    Phase.UNAVAILABLE: ChangeCause.UNAVAILABLE,
    Phase.VANISHED: ChangeCause.VANISHED,
    Phase.UNREADABLE: ChangeCause.UNREADABLE,
    Phase.BLOCKED: ChangeCause.BLOCKED,
}


def _with_code(why: ChangeCause, job: Job) -> ChangeReason:
    return ChangeReason(why, code=_code(job.error), credits=credits_paid(job.attempts))


def _code(error: ErrorInfo | None) -> str | None:
    return None if error is None else error.code


def _reason_of_unsent(planned: PlannedJob, job: Job, before: EarlierPlan | None) -> ChangeReason:
    failed = next(
        (each for each in reversed(job.attempts) if each.status is AttemptStatus.FAILED), None
    )
    if failed is not None:
        return ChangeReason(ChangeCause.RETRIED, code=_code(failed.error))
    if not _is_untouched(job):
        return _with_code(ChangeCause.NOT_SENT, job)
    if before is not None:
        return ChangeReason(
            ChangeCause.CHANGED,
            changes=tuple(field_changes(before.planned, planned)),
            credits=credits_paid(before.job.attempts),
        )
    if planned.generation:  # it was planned before, and not bought
        again = Change("generation", planned.generation - 1, planned.generation)
        return ChangeReason(ChangeCause.CHANGED, changes=(again,))
    return ChangeReason(ChangeCause.NEVER_RUN)


def _is_untouched(job: Job) -> bool:
    return job.phase is Phase.READY and not job.attempts and job.error is None


def field_changes(before: PlannedJob, now: PlannedJob) -> Iterator[Change]:
    """Yield the changes of the workflow, parameters, images (by their bytes) and repeat index."""
    if before.workflow_id != now.workflow_id:
        yield Change("workflow", before.workflow_id, now.workflow_id)
    earlier, later = _shown_params(before), _shown_params(now)
    for name in sorted(earlier.keys() | later.keys()):
        old, new = earlier.get(name), later.get(name)
        # 1, 1.0 and True are equal in Python, but different JSON.
        if (type(old), old, name in earlier) != (type(new), new, name in later):
            yield Change(name, old, new)
    for name in sorted(before.images.keys() | now.images.keys()):
        old_image, new_image = before.images.get(name), now.images.get(name)
        if _digest(old_image) != _digest(new_image):
            yield Change(name, _file(old_image), _file(new_image))
    if before.repeat != now.repeat:
        yield Change("repeat", before.repeat, now.repeat)
    if before.generation != now.generation:
        yield Change("generation", before.generation, now.generation)


def _shown_params(planned: PlannedJob) -> Mapping[str, object]:
    """Return the parameters, with a word for values that follow from the identity: only what these
    follow from has changed."""
    return {**planned.params, **dict.fromkeys(planned.markers, "derived")}


def _digest(image: InputImage | None) -> str | None:
    return None if image is None else image.spec.sha256


def _file(image: InputImage | None) -> str | None:
    """Return an image's file name with the beginning of its digest, since often only the bytes have
    changed."""
    return None if image is None else f"{image.path.name} ({image.spec.sha256[:8]})"


_LONGEST_VALUE = 48
_CONTEXT = 12


def change_words(change: Change) -> str:
    """Return a change in words, such as ``size.width: 64 → 128``. Long values are shortened."""
    if change.before is None:
        return f"{change.field}: {_value(change.after)} added"
    if change.after is None:
        return f"{change.field}: {_value(change.before)} removed"
    before, after = change.before, change.after
    if isinstance(before, str) and isinstance(after, str):
        before, after = contrast(before, after)
    return f"{change.field}: {_value(before)} → {_value(after)}"


def contrast(before: str, after: str) -> tuple[str, str]:
    """Shorten two long texts to the part where they begin to differ."""
    differs = (at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new)
    start = next(differs, min(len(before), len(after))) - _CONTEXT
    if start <= 0 or max(len(before), len(after)) <= _LONGEST_VALUE:
        return before, after
    return f"…{before[start:]}", f"…{after[start:]}"


def _value(value: object) -> str:
    if isinstance(value, str):
        return f"'{_shortened(value)}'"
    return _shortened(repr(value))


def _shortened(text: str) -> str:
    return truncate(clean(text, 10_000), _LONGEST_VALUE)
