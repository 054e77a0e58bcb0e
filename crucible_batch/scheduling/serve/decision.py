"""What a scheduler starts, and what it skips: a pure function of schedules, progress and the time.

    the time of a manifest is due, and
      nothing of it runs, at most LATE late    start it; --catch-up runs what was missed before it
      nothing of it runs, later than that      the computer slept or was off: with catch_up, start the latest of the
                                               missed times; without it, skip them
      it runs, or waits for a free place       with catch_up, it is missed, and started afterwards; without it, skipped
    a run ended with exit code 5 or a crash    start it again after RETRY_AFTER, unless a newer time is due
    a manifest is new                          its times begin now
    the clock was set back                     a time that was dealt with is not started again; after more than
                                               FURTHEST_BACK, times begin now

A time counts as dealt with (``handled``) once it was started or skipped; each skip is returned to be reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice, takewhile

from crucible_batch.errors import ExitCode
from crucible_batch.scheduling.schedules import ScheduledManifest

LATE = timedelta(minutes=5)
RETRY_AFTER = timedelta(minutes=10)
MOST_ATTEMPTS = 3
FURTHEST_BACK = timedelta(days=1)
_REASONS = ("a later time is due, and schedule.catch_up is 0", "schedule.catch_up is reached")
_MOST_COUNTED = 1000
"""Missed times are counted up to this; ``catch_up`` is at most 366."""


@dataclass(frozen=True, slots=True, order=True)
class Start:
    """A run to start: of which manifest, for which time, with up to how many missed times before it.

    Which of them were missed is known from the run directories, so ``run --catch-up`` finds them.
    """

    scheduled_at: datetime
    manifest: str
    catch_up: int = 0
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Skip:
    """``count`` scheduled times of a manifest that are not started. The latest of them, and why."""

    manifest: str
    count: int
    latest: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class ManifestState:
    """What a scheduler has done for one manifest. All times up to ``handled`` were started or skipped."""

    handled: datetime
    running: Start | None = None
    waiting: Start | None = None
    retry: Start | None = None
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The runs to start now, the times that are skipped, and the progress of each manifest afterwards."""

    starts: tuple[Start, ...]
    skips: tuple[Skip, ...]
    progress: Mapping[str, ManifestState]


def decide(
    schedules: Mapping[str, ScheduledManifest],
    progress: Mapping[str, ManifestState],
    now: datetime,
    most_running: int,
) -> Decision:
    """Decide what starts at ``now`` (UTC), with at most ``most_running`` runs at a time.

    ``progress`` may have manifests without a schedule any more: their runs count, and nothing else is done for them.
    """
    skips: list[Skip] = []
    after: dict[str, ManifestState] = {}
    for manifest, schedule in schedules.items():
        before = progress.get(manifest) or ManifestState(now)
        after[manifest], skipped = _advance(manifest, schedule, before, now)
        skips += skipped
    for manifest, gone in progress.items():
        if manifest not in schedules and gone.running is not None:
            after[manifest] = replace(gone, waiting=None, retry=None)
    free = most_running - sum(each.running is not None for each in after.values())
    waiting = sorted(each.waiting for each in after.values() if each.waiting is not None)
    starts = tuple(waiting[: max(0, free)])
    for start in starts:
        after[start.manifest] = replace(after[start.manifest], running=start, waiting=None)
    return Decision(starts, tuple(skips), after)


def _advance(
    manifest: str, schedule: ScheduledManifest, progress: ManifestState, now: datetime
) -> tuple[ManifestState, list[Skip]]:
    if progress.handled > now + FURTHEST_BACK:
        progress = replace(progress, handled=now)
    due = list(islice(takewhile(lambda time: time > progress.handled, schedule.times_until(now)), _MOST_COUNTED))
    if not due:
        return _with_retry(progress, now), []
    latest, is_busy = due[0], progress.running is not None or progress.waiting is not None
    if is_busy and schedule.catch_up:
        return progress, []
    if is_busy:
        return replace(progress, handled=latest), [Skip(manifest, len(due), latest, "the run before is still active")]
    return _begin(manifest, schedule.catch_up, replace(progress, handled=latest), due, now)


def _begin(
    manifest: str, catch_up: int, progress: ManifestState, due: list[datetime], now: datetime
) -> tuple[ManifestState, list[Skip]]:
    """Make the latest due time wait for its start. It takes one of ``catch_up`` if it is late itself."""
    latest = due[0]
    is_late = now - latest > LATE
    if is_late and not catch_up:
        return progress, [Skip(manifest, len(due), latest, "no scheduler was active at that time")]
    missed = [*due[1:], *([] if progress.retry is None else [progress.retry.scheduled_at])]
    caught_up = catch_up - is_late
    left_out = missed[caught_up:]
    skips = [Skip(manifest, len(left_out), left_out[0], _REASONS[bool(catch_up)])] if left_out else []
    return replace(progress, waiting=Start(latest, manifest, caught_up), retry=None, retry_at=None), skips


def _with_retry(progress: ManifestState, now: datetime) -> ManifestState:
    retry, at = progress.retry, progress.retry_at
    if retry is None or at is None or at > now or progress.running is not None or progress.waiting is not None:
        return progress
    return replace(progress, waiting=retry, retry=None, retry_at=None)


def ended(progress: ManifestState, exit_code: int, now: datetime) -> ManifestState:
    """Return the progress after a run has ended. A negative exit code is that of a signal that ended it."""
    run = progress.running
    idle = replace(progress, running=None)
    is_retried = exit_code == ExitCode.STOPPED or exit_code < 0
    if run is None or not is_retried or run.attempt >= MOST_ATTEMPTS:
        return idle
    return replace(idle, retry=replace(run, attempt=run.attempt + 1), retry_at=now + RETRY_AFTER)


def restarted(progress: ManifestState, now: datetime) -> ManifestState:
    """Return the progress after a restart of the scheduler: what it had started or queued is resumed immediately."""
    unfinished = progress.running or progress.waiting or progress.retry
    return ManifestState(progress.handled, retry=unfinished, retry_at=None if unfinished is None else now)
