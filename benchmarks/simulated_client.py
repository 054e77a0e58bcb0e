"""A run against the simulated gateway: submits up to a number in flight, polls when its watcher
says so, downloads.

Three watchers: the loop of the public guides, the product's own scheduler, and an oracle that is
told of each end. How many are in flight is a number, or what the product's ``ConcurrencyLimit``
finds.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.simulated_gateway import Gateway, Story
from crucible_batch.core.gateway_types import JobStatus
from crucible_batch.pace.concurrency import initial_limit
from crucible_batch.pace.polls import PollScheduler, ServiceTimes


class Watcher(Protocol):
    """Which job is polled, and when."""

    def add(self, job: int, now: float) -> None: ...

    def take(self, now: float) -> int | None: ...

    def next_at(self, now: float) -> float: ...

    def record(self, job: int, status: JobStatus, now: float) -> None: ...


class EveryFiveSeconds:
    """The public guides' loop for each job, within the story's budget."""

    def __init__(self, story: Story) -> None:
        self._pause_s = 0.0 if story.polls_per_s is None else 1 / story.polls_per_s
        self._due: list[tuple[float, int]] = []
        self._next_at = 0.0

    def add(self, job: int, now: float) -> None:
        heapq.heappush(self._due, (now + 5.0, job))

    def take(self, now: float) -> int | None:
        if self.next_at(now) > now:
            return None
        self._next_at = now + self._pause_s
        return heapq.heappop(self._due)[1]

    def next_at(self, _now: float) -> float:
        return max(self._due[0][0], self._next_at) if self._due else math.inf

    def record(self, job: int, status: JobStatus, now: float) -> None:
        if status is not JobStatus.SUCCEEDED:
            self.add(job, now)


class Ours:
    """The product's scheduler."""

    def __init__(self, story: Story) -> None:
        times = ServiceTimes()
        for workflow_id, expected_s in story.expected_s.items():
            times.announce(workflow_id, expected_s)
        self._scheduler = PollScheduler(times, story.polls_per_s)
        self._story = story
        self._tickets: dict[int, int] = {}
        self._jobs: dict[int, int] = {}

    def add(self, job: int, now: float) -> None:
        ticket = self._scheduler.add(self._story.jobs[job].workflow_id, now, timeout_s=math.inf)
        self._tickets[job], self._jobs[ticket] = ticket, job

    def take(self, now: float) -> int | None:
        ticket = self._scheduler.take(now)
        return None if ticket is None else self._jobs[ticket]

    def next_at(self, now: float) -> float:
        return self._scheduler.next_at(now)

    def record(self, job: int, status: JobStatus, now: float) -> None:
        self._scheduler.record(self._tickets[job], status, now)


@dataclass
class Played:
    """What came of a run.

    ``delays`` are from a job's end to the answer that shows it, in seconds.
    """

    delays: list[float] = field(default_factory=list)
    polled_at: list[float] = field(default_factory=list)
    in_flight: list[int] = field(default_factory=list)
    makespan_s: float = 0.0

    @property
    def delay_s(self) -> float:
        return statistics.fmean(self.delays)

    @property
    def polls(self) -> float:
        """Polls for each job."""
        return len(self.polled_at) / len(self.delays)


class Client:
    """Plays one story."""

    def __init__(self, story: Story, watcher: Watcher | None) -> None:
        """``watcher`` None is the oracle: all jobs are in flight, and each end is known at once."""
        self._story = story
        self._watcher = watcher
        self._gateway = Gateway(story)
        self._rng = random.Random(story.seed + 2)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._now = 0.0
        self._limit = initial_limit(story.in_flight if watcher is not None else len(story.jobs))
        self._in_use = 0
        self._open = 0
        self._next_job = 0
        self._played = Played()

    def play(self) -> Played:
        while len(self._played.delays) < len(self._story.jobs):
            self._submit_more()
            at = min(self._events[0][0] if self._events else math.inf, self._next_look())
            self._now = max(self._now, at)
            if self._events and self._events[0][0] <= self._now:
                heapq.heappop(self._events)[2]()
            elif self._watcher is not None and (job := self._watcher.take(self._now)) is not None:
                self._look(job)
        self._played.makespan_s = self._now
        return self._played

    def _next_look(self) -> float:
        return math.inf if self._watcher is None else self._watcher.next_at(self._now)

    def _after(self, wait_s: float, then: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._now + wait_s, next(self._count), then))

    def _submit_more(self) -> None:
        while self._in_use < self._limit.allowed and self._next_job < len(self._story.jobs):
            job, self._next_job = self._next_job, self._next_job + 1
            self._in_use += 1
            self._submit(job)

    def _submit(self, job: int) -> None:
        def arrive() -> None:
            self._gateway.submit(job, self._now)
            self._after(self._story.round_trip_s / 2, accept)

        def accept() -> None:
            self._open += 1
            self._limit.accepted()
            if self._watcher is None:
                self._foresee(job)
            else:
                self._watcher.add(job, self._now)

        self._after(self._story.round_trip_s / 2, arrive)

    def _foresee(self, job: int) -> None:
        """Look without a request, whenever a job may have ended."""
        if self._gateway.look(job, self._now) is JobStatus.SUCCEEDED:
            self._end(job)
        else:
            self._after(self._gateway.next_end() - self._now, lambda: self._foresee(job))

    def _look(self, job: int) -> None:
        self._played.polled_at.append(self._now)

        def arrive() -> None:
            status = self._gateway.look(job, self._now)
            self._after(self._story.round_trip_s / 2, lambda: answer(status))

        def answer(status: JobStatus) -> None:
            assert self._watcher is not None
            self._watcher.record(job, status, self._now)
            if status is not JobStatus.SUCCEEDED:
                self._limit.polled(status)
            self._played.in_flight.append(self._in_use)
            if status is JobStatus.SUCCEEDED:
                self._end(job)

        self._after(self._story.round_trip_s / 2, arrive)

    def _end(self, job: int) -> None:
        self._open -= 1
        self._played.delays.append(self._now - self._gateway.ended_at[job])

        def downloaded() -> None:
            self._in_use -= 1

        self._after(self._story.download_s, downloaded)


def fixed(story: Story) -> Played:
    return Client(story, EveryFiveSeconds(story)).play()


def ours(story: Story) -> Played:
    return Client(story, Ours(story)).play()


def oracle(story: Story) -> Played:
    return Client(story, None).play()
