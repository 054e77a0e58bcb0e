"""The figures of a run, updated by its progress messages. No dependency on a metrics library."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from crucible_batch.domain.credits import Credits
from crucible_batch.domain.events import Listed, Saved
from crucible_batch.domain.job import Phase
from crucible_batch.domain.progress import (
    Balance,
    GatewayBack,
    GatewayUnreachable,
    JobAdvanced,
    Message,
    RunBegan,
    RunEnded,
    TakenUp,
    Throttled,
)
from crucible_batch.domain.tally import Tally


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


@dataclass(frozen=True, slots=True)
class StageFigures:
    """The time that jobs spent in one stage: how often, the sum, and the longest, in seconds."""

    count: int = 0
    sum_s: float = 0.0
    max_s: float = 0.0

    def plus(self, seconds: float) -> StageFigures:
        return StageFigures(self.count + 1, self.sum_s + seconds, max(self.max_s, seconds))


@dataclass(frozen=True, slots=True)
class PeriodFigures:
    """The budget of a period, over all runs of its account. ``ends_at`` is in seconds since the epoch, if known."""

    account: str
    limit: Credits
    spent: Credits
    set_aside: Credits
    ends_at: float | None


class RunFigures(Tally):
    """The figures of a run of a manifest. ``began_at`` is the start of the command, in seconds since the epoch."""

    def __init__(self, began_at: float, schedule_interval_s: float | None = None) -> None:
        super().__init__()
        self.began_at = began_at
        self.schedule_interval_s = schedule_interval_s
        self.ended_at: float | None = None
        self.exit_code: int | None = None
        self.succeeded_at: float | None = None
        self.period: PeriodFigures | None = None
        self.stages = {stage: StageFigures() for stage in JobStage}
        self.limit: int | None = None
        self.reductions = 0
        self._outages_s = 0.0
        self._outage_now_s = 0.0
        self._spent_before: Credits | None = None
        self._tracker = StageTracker()

    @property
    def spent(self) -> Credits | None:
        """The credits spent by this run alone; None if it has not begun."""
        if self.balance is None or self._spent_before is None:
            return None
        return self.balance.spent - self._spent_before

    @property
    def outage_s(self) -> float:
        """The time waited for an unreachable gateway; outages shorter than a minute are not reported."""
        return self._outages_s + self._outage_now_s

    def notify(self, message: Message) -> None:
        self.follow(message)
        match message:
            case RunBegan():
                self._spent_before = message.balance.spent
            case JobAdvanced():
                ended = self._tracker.take(message)
                if ended is not None:
                    self._count(ended)
            case TakenUp():
                self._tracker.take(message)
            case Throttled():
                self.limit = message.limit
                self.reductions += message.reason is not None
            case GatewayUnreachable():
                self._outage_now_s = message.lasted_s
            case GatewayBack():
                self._outages_s += message.lasted_s
                self._outage_now_s = 0.0
            case RunEnded():
                for time in self._tracker.end(message.at):
                    self._count(time)
            case _:
                pass

    def finish(
        self, at: float, exit_code: int, balance: Balance | None = None, period: PeriodFigures | None = None
    ) -> None:
        """Record the end of the command. ``balance`` and ``period`` are those of the report; None if there is none."""
        self.ended_at, self.exit_code = at, exit_code
        self.balance = balance or self.balance
        self.period = period
        if exit_code == 0:
            self.succeeded_at = at

    def _count(self, time: StageTime) -> None:
        self.stages[time.stage] = self.stages[time.stage].plus(time.seconds)
