"""A gateway in simulated time: runners that take jobs from a queue, ours and those of others, and
end them.

Nothing here knows the product. A story says all that happens, chance included: the same story is
the same run.
"""

from __future__ import annotations

import enum
import heapq
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from crucible_batch.core.gateway_types import JobStatus


class Order(enum.Enum):
    """Which of the queued jobs a free runner takes."""

    IN_TURN = "in turn"
    ANY = "any"
    LAST_FIRST = "last first"


@dataclass(frozen=True, slots=True)
class Tenants:
    """Other people's jobs in the same queue: so many at once, again and again."""

    every_s: float
    together: int
    service_s: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job as its gateway knows it, and nobody else."""

    workflow_id: str
    service_s: float


@dataclass(frozen=True, slots=True)
class Story:
    """One run against one gateway.

    ``in_flight`` None has it found. ``expected_s`` is what the workflows announce of themselves.
    """

    jobs: Sequence[Wanted]
    expected_s: dict[str, float]
    in_flight: int | None = 40
    polls_per_s: float | None = None
    runners: int = 20
    order: Order = Order.IN_TURN
    tenants: Tenants | None = None
    round_trip_s: float = 0.05
    download_s: float = 0.2
    seed: int = 1


Sample = Callable[[random.Random], Wanted]


def lognormal(rng: random.Random, sigma: float = 0.5) -> Wanted:
    """Eight seconds on the average."""
    return Wanted("a", 8 * rng.lognormvariate(-sigma * sigma / 2, sigma))


def labelled(rng: random.Random) -> Wanted:
    """Two workflows, of 4 and of 30 seconds, a tenth more or less."""
    name, service_s = rng.choice([("short", 4.0), ("long", 30.0)])
    return Wanted(name, service_s * rng.uniform(0.9, 1.1))


def heavy_tailed(rng: random.Random) -> Wanted:
    """Nine seconds on the average, most of them less than five, one of a hundred more than a
    minute."""
    return Wanted("a", 3 * rng.paretovariate(1.5))


def sampled(sample: Sample, count: int, seed: int) -> list[Wanted]:
    """Draw jobs; the same seed draws the same."""
    rng = random.Random(seed)
    return [sample(rng) for _ in range(count)]


@dataclass
class Gateway:
    """The gateway of one story. ``now`` never goes back from one call to the next."""

    story: Story
    ended_at: dict[int, float] = field(default_factory=dict)
    _status: dict[int, JobStatus] = field(default_factory=dict)
    _queue: list[tuple[int | None, float]] = field(default_factory=list)
    _coming: list[tuple[float, int, int | None, bool]] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        self._free = self.story.runners
        self._rng = random.Random(self.story.seed + 1)
        if self.story.tenants is not None:
            self._expect(self._rng.expovariate(1 / self.story.tenants.every_s), None, is_end=False)

    def submit(self, job: int, now: float) -> None:
        self._go_on(now)
        self._status[job] = JobStatus.QUEUED
        self._queue.append((job, self.story.jobs[job].service_s))
        self._start(now)

    def look(self, job: int, now: float) -> JobStatus:
        self._go_on(now)
        return self._status[job]

    def next_end(self) -> float:
        """Return when a job will end next, ours or another's: for the oracle alone."""
        return min((at for at, _, _, is_end in self._coming if is_end), default=math.inf)

    def _expect(self, at: float, job: int | None, *, is_end: bool) -> None:
        self._count += 1
        heapq.heappush(self._coming, (at, self._count, job, is_end))

    def _go_on(self, now: float) -> None:
        while self._coming and self._coming[0][0] <= now:
            at, _, job, is_end = heapq.heappop(self._coming)
            if is_end:
                self._free += 1
                if job is not None:
                    self._status[job], self.ended_at[job] = JobStatus.SUCCEEDED, at
            elif (tenants := self.story.tenants) is not None:
                self._queue += [
                    (None, tenants.service_s * self._rng.lognormvariate(0, 0.5))
                    for _ in range(tenants.together)
                ]
                self._expect(at + self._rng.expovariate(1 / tenants.every_s), None, is_end=False)
            self._start(at)

    def _start(self, now: float) -> None:
        while self._free and self._queue:
            job, service_s = self._queue.pop(self._next())
            self._free -= 1
            if job is not None:
                self._status[job] = JobStatus.RUNNING
            self._expect(now + service_s, job, is_end=True)

    def _next(self) -> int:
        match self.story.order:
            case Order.IN_TURN:
                return 0
            case Order.ANY:
                return self._rng.randrange(len(self._queue))
            case Order.LAST_FIRST:
                return -1
