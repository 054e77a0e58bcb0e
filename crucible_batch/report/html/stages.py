"""The stages of a job, each with its begin and end: where the time went."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from crucible_batch.report.models import AttemptRow, JobRow


class StageKind(enum.StrEnum):
    """What a job was waiting for. ``GATEWAY`` is queue and run together, where no look told them apart."""

    UPLOAD = "upload"
    SEND = "send"
    QUEUE = "queue"
    RUN = "run"
    GATEWAY = "gateway"
    DOWNLOAD = "download"


@dataclass(frozen=True, slots=True)
class Stage:
    """Seconds since the epoch."""

    kind: StageKind
    begin: float
    end: float


def stages_of(row: JobRow) -> list[Stage]:
    """Return the stages of all attempts, in order. What has not ended, or was never begun, is not among them."""
    found: list[Stage] = []
    for attempt in row.attempts:
        found.extend(_of_attempt(attempt))
    last = row.attempts[-1] if row.attempts else None
    if last is not None and last.ended_at is not None and row.outputs:
        saved_at = max(output.saved_at for output in row.outputs)
        found.append(Stage(StageKind.DOWNLOAD, last.ended_at, saved_at))
    # A clock that was set back makes a stage of less than nothing: there is nothing to show of it.
    return [stage for stage in found if stage.end > stage.begin]


def _of_attempt(attempt: AttemptRow) -> Iterator[Stage]:
    accepted, running, ended = attempt.accepted_at, attempt.running_at, attempt.ended_at
    sent = attempt.held_at
    if attempt.prepared_at is not None:
        yield Stage(StageKind.UPLOAD, attempt.held_at, attempt.prepared_at)
        sent = attempt.prepared_at
    if (answered := accepted or ended) is not None:
        yield Stage(StageKind.SEND, sent, answered)
    if accepted is None or ended is None:
        return
    if running is None:
        yield Stage(StageKind.GATEWAY, accepted, ended)
    else:
        yield Stage(StageKind.QUEUE, accepted, running)
        yield Stage(StageKind.RUN, running, ended)
