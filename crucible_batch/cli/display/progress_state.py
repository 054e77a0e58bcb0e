"""The counts and rates of a run, computed from its progress messages for all displays.

Pure; time is an argument.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from msgspec import Struct, structs

from crucible_batch.cli.display.message_text import (
    answered_words,
    by_words,
    control_words,
    jobs_at_once,
    unreachable_words,
)
from crucible_batch.cli.units import counted, format_duration
from crucible_batch.core.control import ControlAction
from crucible_batch.core.events import event_name
from crucible_batch.core.job import Phase
from crucible_batch.core.outcome import Outcome
from crucible_batch.core.pace import Pace, TimeLeft
from crucible_batch.core.progress import (
    AssetAdvanced,
    Balance,
    Controlled,
    GatewayBack,
    GatewayUnreachable,
    JobAdvanced,
    Message,
    Retrying,
    RunBegan,
    RunEnded,
    ShardsAdvanced,
    Stopping,
    TakenUp,
    Throttled,
)
from crucible_batch.core.redaction import clean
from crucible_batch.core.tally import OUTCOME_OF_PHASE, Tally
from crucible_batch.runs.status import Progress

_AT_WORK = {Phase.PREPARING, Phase.SUBMITTING, Phase.IN_FLIGHT, Phase.FETCHING}


@dataclass(frozen=True, slots=True)
class NotableEvent:
    """A failure of a job, or of a request that is sent again, to show to the user.

    ``code`` is empty for a request. ``retry`` is true if the failure is not final, ``unknown`` if
    it isn't known whether the job was bought.
    """

    name: str
    code: str
    message: str
    retry: bool = False
    unknown: bool = False


class Task(Struct, frozen=True):
    """An active job. ``since`` is on the display's clock.

    ``canary``: it holds all that is left of the budget, and is sent alone, until the gateway
    answers with its price.
    """

    name: str
    phase: Phase
    since: float
    beside: bool = False
    canary: bool = False


class ProgressState(Tally):
    """The counts of one run. ``waiting`` jobs have neither started nor ended."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun = False
        self.uploaded = 0
        self.found = 0
        self.ended = False
        self.throttled: Throttled | None = None
        self.unreachable: str | None = None
        self.paused: tuple[float, str] | None = None
        """Since when, on the display's clock, and by whom the run is paused."""
        self.stop_at: float | None = None
        self.errors: Mapping[str, int] = {}
        self._tasks: dict[str, Task] = {}
        self._uploading: set[str] = set()
        self._pace = Pace()
        self._began_at = 0.0

    @classmethod
    def of(cls, found: Progress, balance: Balance) -> ProgressState:
        """Return the state of a run of another process; its times are wall-clock times."""
        state = cls()
        state.has_begun = True
        state.counts, state.outputs = found.tally.counts, found.tally.outputs
        state.byte_size = found.tally.byte_size
        state.balance, state.errors = balance, found.errors
        named = {
            f"{at}": Task(clean(job.name, 80), job.phase, job.since)
            for at, job in enumerate(found.oldest)
        }
        rest = Counter(found.phases) - Counter(job.phase for job in found.oldest)
        unnamed = {
            f"{phase}{at}": Task("", phase, math.inf)
            for phase, count in rest.items()
            for at in range(count)
        }
        state._tasks = {**named, **unnamed}
        state._began_at, state._pace = found.began_at, Pace(found.began_at)
        for at in found.ended_at:
            state._pace.ended(at)
        return state

    @property
    def done(self) -> int:
        return sum(
            self.counts[outcome] for outcome in (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.UNKNOWN)
        )

    @property
    def in_flight(self) -> int:
        return len(self._tasks)

    @property
    def uploading(self) -> int:
        return len(self._uploading)

    @property
    def waiting(self) -> int:
        return max(0, self.total - self.done - self._own_tasks())

    def stages(self) -> Counter[Phase]:
        return Counter(task.phase for task in self.tasks())

    @property
    def has_canary(self) -> bool:
        """Whether a job sent alone holds the rest of the budget until its price is known."""
        return any(task.canary for task in self.tasks())

    def tasks(self) -> list[Task]:
        """Return the active jobs as a new list, since another thread draws it."""
        return list(self._tasks.values())

    def oldest(self, count: int) -> list[Task]:
        return heapq.nsmallest(count, self.tasks(), key=lambda task: task.since)

    def elapsed_s(self, now: float) -> float:
        if not self.has_begun:
            return 0.0
        return now - self._began_at

    def rate_per_min(self, now: float) -> float | None:
        """Return jobs per minute over the last jobs; None while too few data exist."""
        return self._pace.per_min(now)

    def left(self, now: float) -> TimeLeft | None:
        """Estimate the time left at this rate; None without a rate, or if the run is stopping."""
        if self.stop_at is not None or self.paused is not None:
            return None
        return self._pace.left(self.waiting + self._own_tasks(), now)

    def take(self, message: Message, now: float) -> NotableEvent | str | None:
        """Update the counts by a message, and return the event to show, if any.

        An event of the run itself is a text.
        """
        done_before = self.done
        self.follow(message)
        match message:
            case RunBegan():
                self.has_begun, self.ended = True, False
                self._began_at, self._pace = now, Pace(now)
            case TakenUp():
                since = now - max(0.0, message.at - message.since)
                self._tasks[message.identity] = Task(
                    clean(message.name, 80), message.phase, since, message.beside
                )
            case JobAdvanced():
                return self._advance_task(message, now)
            case AssetAdvanced():
                self._upload(message)
            case Retrying():
                words = f"{clean(message.reason, 120)}; again in {message.wait_s:.1f} s"
                # Last, since narrow lines are cut.
                if message.host:
                    words += f" ({clean(message.host, 100)})"
                return NotableEvent(f"{message.operation} request", "", words, retry=True)
            case GatewayUnreachable():
                self.unreachable = unreachable_words(message)
                return f"waiting  {self.unreachable} ({clean(message.reason, 200)})"
            case GatewayBack():
                self.unreachable = None
                return f"resumed  {answered_words(message)}"
            case Throttled():
                return self._throttle(message)
            case Stopping():
                self.stop_at = now + (message.grace_s or 0.0)
                return f"stop  stopping  {message.code}: {stopping_words(self, now)}"
            case Controlled():
                return self._control(message, now)
            case RunEnded():
                self.ended = True
                self._tasks.clear()
            case ShardsAdvanced():
                for _ in range(self.done - done_before):
                    self._pace.ended(now)
        return None

    def _own_tasks(self) -> int:
        return sum(not task.beside for task in self.tasks())

    def _advance_task(self, message: JobAdvanced, now: float) -> NotableEvent | None:
        before, phase = message.before, message.phase
        task = self._tasks.get(message.identity) or Task(
            clean(message.name, 80), phase, now, message.beside
        )
        if phase in _AT_WORK:
            is_sent = phase not in {Phase.PREPARING, Phase.SUBMITTING}
            canary = not is_sent and getattr(message.event, "alone", task.canary)
            self._tasks[message.identity] = structs.replace(task, phase=phase, canary=canary)
        else:
            self._tasks.pop(message.identity, None)
        is_end = OUTCOME_OF_PHASE.get(phase) in {Outcome.SUCCEEDED, Outcome.FAILED}
        if is_end and phase is not before and not message.beside:
            self._pace.ended(now)
        notable = _notable(message)
        if notable is not None:
            # Replaced, never mutated: a drawing thread may read it at any time.
            self.errors = {**self.errors, notable.code: self.errors.get(notable.code, 0) + 1}
        return notable

    def _upload(self, message: AssetAdvanced) -> None:
        kind = event_name(message.event)
        self.uploaded += kind == "BecameReady"
        self.found += kind == "Found"
        if kind in {"Intended", "Created"}:
            self._uploading.add(message.sha256)
        else:
            self._uploading.discard(message.sha256)

    def _throttle(self, message: Throttled) -> str | None:
        """Keep a lowered limit until it is back at its ceiling.

        The initial rise of the limit is not notable.
        """
        if message.reason is None:
            if message.limit == message.ceiling:
                self.throttled = None
            elif self.throttled is not None:
                self.throttled = replace(message, reason=self.throttled.reason)
            return None
        self.throttled = message
        return f"slower  at most {jobs_at_once(message.limit)}: {clean(message.reason, 60)}"

    def _control(self, message: Controlled, now: float) -> str:
        match message.action:
            case ControlAction.PAUSE:
                self.paused = (now, by_words(message))
                return f"paused  by {by_words(message)}; nothing new is bought"
            case ControlAction.RESUME:
                self.paused = None
                return f"resumed  by {by_words(message)}"
            case _:
                return f"control  {control_words(message)}"


def paused_words(state: ProgressState, now: float) -> list[str]:
    if state.paused is None:
        return []
    since, by = state.paused
    count = state.in_flight
    collected = "no jobs in flight"
    if count:
        collected = f"{counted(count, 'job')} in flight"
    return [
        f"by {by}",
        format_duration(max(0.0, now - since), whole=True),
        collected,
        "nothing new is bought",
    ]


def stopping_words(state: ProgressState, now: float) -> str:
    count, rest_s = state.in_flight, max(0.0, (state.stop_at or now) - now)
    awaited = "no jobs in flight"
    if count:
        awaited = f"waiting up to {rest_s:.0f} s for {counted(count, 'job')} in flight"
    return f"{awaited}; Ctrl-C again exits now; nothing is lost"


def _notable(message: JobAdvanced) -> NotableEvent | None:
    error = getattr(message.event, "error", None)
    if error is None or event_name(message.event) == "HoldReleased":
        # Declined: the account or an image was refused; the run's stop message reports it once.
        return None
    retry = message.phase is Phase.READY
    unknown = message.phase is Phase.UNKNOWN
    code, words = clean(error.code, 60), clean(error.message, 200)
    return NotableEvent(clean(message.name, 80), code, words, retry, unknown)
