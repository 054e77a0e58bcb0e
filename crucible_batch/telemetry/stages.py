"""The stages of jobs, with their begin and end, from the progress messages of a run."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from crucible_batch.domain.events import Listed, Saved
from crucible_batch.domain.job import Phase
from crucible_batch.domain.progress import JobAdvanced, TakenUp


class JobStage(enum.StrEnum):
    """A part of a job's time. ``UPLOAD``: its input images are made ready, also if another job uploads them.

    ``WAIT`` is the time at the gateway, until a poll reports the end.
    """

    UPLOAD = "upload"
    SUBMIT = "submit"
    WAIT = "wait"
    DOWNLOAD = "download"


STAGE_OF_PHASE: Mapping[Phase, JobStage] = {
    Phase.PREPARING: JobStage.UPLOAD,
    Phase.SUBMITTING: JobStage.SUBMIT,
    Phase.IN_FLIGHT: JobStage.WAIT,
    Phase.FETCHING: JobStage.DOWNLOAD,
}


@dataclass(frozen=True, slots=True)
class StageTime:
    """A stage of one job. Times are in seconds since the epoch; ``ended_at`` is None while the stage lasts."""

    stage: JobStage
    began_at: float
    ended_at: float | None = None

    @property
    def seconds(self) -> float:
        """The duration, 0 if the clock was set back or the stage lasts."""
        return max(0.0, (self.ended_at or self.began_at) - self.began_at)


class StageTracker:
    """The current stage of each active job. A job that an earlier run left in flight counts from its resumption."""

    def __init__(self) -> None:
        self._current: dict[str, StageTime] = {}
        self._saved_at: dict[str, float] = {}

    def take(self, message: TakenUp | JobAdvanced) -> StageTime | None:
        """Return the stage that the message ends; None if it ends none."""
        identity, stage = message.identity, STAGE_OF_PHASE.get(message.phase)
        current = self._current.get(identity)
        event = message.event if isinstance(message, JobAdvanced) else None
        if isinstance(event, Saved):
            self._saved_at[identity] = message.at
        if current is not None and current.stage is stage:
            return None
        ended = None if current is None else replace(current, ended_at=self._end(message, current))
        self._saved_at.pop(identity, None)
        if stage is None:
            self._current.pop(identity, None)
        else:
            self._current[identity] = StageTime(stage, message.at)
        return ended

    def end(self, at: float) -> Iterator[StageTime]:
        """End all current stages, at the end of the run, and yield them."""
        for current in self._current.values():
            yield replace(current, ended_at=at)
        self._current.clear()
        self._saved_at.clear()

    def _end(self, message: TakenUp | JobAdvanced, current: StageTime) -> float:
        """Return when a stage ended. A download ends with its last file: its list of outputs is read again later."""
        if (
            current.stage is JobStage.DOWNLOAD
            and isinstance(message, JobAdvanced)
            and isinstance(message.event, Listed)
        ):
            return self._saved_at.get(message.identity, message.at)
        return message.at
