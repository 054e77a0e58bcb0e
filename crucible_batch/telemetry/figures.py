"""The figures of a run, updated by its progress messages. No dependency on a metrics library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from crucible_batch.domain.credits import Credits
from crucible_batch.domain.events import Saved
from crucible_batch.domain.job import Phase
from crucible_batch.domain.outcome import Outcome
from crucible_batch.domain.progress import (
    AssetAdvanced,
    Balance,
    GatewayBack,
    GatewayUnreachable,
    JobAdvanced,
    Message,
    Retrying,
    RunBegan,
    RunEnded,
    TakenUp,
    Throttled,
)
from crucible_batch.telemetry.stages import JobStage, StageTime, StageTracker

OUTCOME_OF_PHASE: Mapping[Phase, Outcome] = {
    Phase.SUCCEEDED: Outcome.SUCCEEDED,
    Phase.FAILED: Outcome.FAILED,
    Phase.UNAVAILABLE: Outcome.FAILED,
    Phase.VANISHED: Outcome.FAILED,
    Phase.UNKNOWN: Outcome.UNKNOWN,
}
"""Outcomes during a run; jobs in any other phase are pending."""


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


class RunFigures:
    """The figures of a run of a manifest. ``began_at`` is the start of the command, in seconds since the epoch.

    Another thread may read the figures at any time, so mappings are replaced or have a fixed set of keys.
    """

    def __init__(self, began_at: float, schedule_interval_s: float | None = None) -> None:
        self.began_at = began_at
        self.schedule_interval_s = schedule_interval_s
        self.ended_at: float | None = None
        self.exit_code: int | None = None
        self.succeeded_at: float | None = None
        self.balance: Balance | None = None
        self.period: PeriodFigures | None = None
        self.jobs: Mapping[Outcome, int] | None = None
        self.stages = {stage: StageFigures() for stage in JobStage}
        self.retries: Mapping[str, int] = {}
        self.limit: int | None = None
        self.reductions = 0
        self.outputs = 0
        self.output_bytes = 0
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
        match message:
            case RunBegan():
                self._begin(message)
            case JobAdvanced():
                self._advance(message)
            case TakenUp():
                self._tracker.take(message)
            case AssetAdvanced():
                self.balance = message.balance
            case Retrying():
                self.retries = {**self.retries, message.operation: self.retries.get(message.operation, 0) + 1}
            case Throttled():
                self.limit = message.limit
                self.reductions += message.reason is not None
            case GatewayUnreachable():
                self._outage_now_s = message.lasted_s
            case GatewayBack():
                self._outages_s += message.lasted_s
                self._outage_now_s = 0.0
            case RunEnded():
                self._end(message)
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

    def _begin(self, message: RunBegan) -> None:
        # An unknown or blocked job of an earlier run is tried again, so it is pending until this run has its outcome.
        settled = {outcome: message.counts.get(outcome, 0) for outcome in (Outcome.SUCCEEDED, Outcome.FAILED)}
        self.jobs = _all_outcomes({**settled, Outcome.PENDING: message.total - sum(settled.values())})
        self.balance, self._spent_before = message.balance, message.balance.spent

    def _advance(self, message: JobAdvanced) -> None:
        self.balance = message.balance
        if isinstance(message.event, Saved):
            self.outputs += 1
            self.output_bytes += message.event.byte_size
        ended = self._tracker.take(message)
        if ended is not None:
            self._count(ended)
        before = OUTCOME_OF_PHASE.get(message.before, Outcome.PENDING)
        after = OUTCOME_OF_PHASE.get(message.phase, Outcome.PENDING)
        if before is not after and not message.beside and self.jobs is not None:
            self.jobs = _all_outcomes(Counter(self.jobs) + Counter({after: 1}) - Counter({before: 1}))

    def _count(self, time: StageTime) -> None:
        self.stages[time.stage] = self.stages[time.stage].plus(time.seconds)

    def _end(self, message: RunEnded) -> None:
        for time in self._tracker.end(message.at):
            self._count(time)
        self.balance, self.jobs = message.balance, _all_outcomes(message.counts)


def _all_outcomes(counts: Mapping[Outcome, int]) -> dict[Outcome, int]:
    return {outcome: counts.get(outcome, 0) for outcome in Outcome}
