"""A gateway that pushes back, and clients that submit, poll and download, in simulated time.

A scene says all that happens, chance included: the same scene is the same run. Nothing here knows
the product but the rule that it is given, by the methods of ``Rule``.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from crucible_batch.core.gateway_types import JobStatus
from crucible_batch.pace.request_rate import RequestRate

RTT_S = 0.02
"""The round trip of a request, in seconds."""
_DOWNLOAD_S = 0.01


@dataclass(frozen=True, slots=True)
class Scene:
    """One kind of gateway, and the runs against it.

    ``stray`` is the share of requests that are refused whatever the load, or of submits alone.
    ``cap`` bounds the jobs in flight, ``rps`` the requests a second, by a bucket of ``burst_s``
    seconds, or counted by the calendar second. ``others`` is the largest share of the cap that
    other tenants take. A job takes ``service_s`` on average, on one of ``runners``.
    """

    jobs: int = 3000
    stray: float = 0.0
    strays_of_submits: bool = False
    retry_after_s: float | None = None
    cap: int | None = None
    later_cap: tuple[float, int] | None = None
    rps: float | None = None
    rps_of_submits: bool = False
    burst_s: float = 1.0
    by_the_second: bool = False
    outage: tuple[float, float] | None = None
    others: float = 0.0
    service_s: float = 0.2
    runners: int = 400
    concurrency: int | None = None
    clients: int = 1
    apart_s: float = 0.0
    until_s: float = math.inf
    seed: int = 1


class Rule(Protocol):
    """What decides how many jobs are active, and when the next submit or poll is sent."""

    requests: RequestRate

    @property
    def allowed(self) -> int: ...

    def next_submit_at(self, now: float, unanswered: int) -> float: ...

    def submitted(self, now: float) -> None: ...

    def accepted(self) -> None: ...

    def refused(self, now: float, sent_at: float, retry_after_s: float, in_flight: int) -> None: ...

    def ended(self, sent_at: float, job_s: float) -> None: ...

    def polled(self, status: JobStatus) -> None: ...


@dataclass(slots=True)
class Job:
    """A job as its client knows it, and whether the gateway has begun and ended it."""

    tries: int = 0
    submitted_at: float = 0.0
    has_begun: bool = False
    has_ended: bool = False


@dataclass(slots=True)
class Record:
    """What came of one client's run: the times of what happened."""

    made: list[float] = field(default_factory=list)
    submits: int = 0
    refused: int = 0
    answered: list[float] = field(default_factory=list)
    """Requests of all kinds that were not refused."""
    accepted: list[float] = field(default_factory=list)

    def pace(self, begin: float = 0.15, end: float = 0.95) -> float:
        """Return the jobs a second between these shares of the run: without its ramp and its last
        jobs.
        """
        times = self.made[int(len(self.made) * begin) : int(len(self.made) * end)]
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0


class Gateway:
    """The gateway of one scene."""

    def __init__(self, world: World) -> None:
        self._world, self._scene = world, world.scene
        self._rng = random.Random(world.scene.seed)
        self.cap = world.scene.cap
        self._tokens, self._tokens_at = self._bucket, 0.0
        self._second, self._in_second = -1, 0
        self._in_flight = self._running = self._taken = 0
        self._queue: list[Callable[[], None]] = []
        self.taken: list[int] = []
        """How many places other tenants had, again and again."""
        if world.scene.others:
            self._change_others()

    def refuses(self, *, is_submit: bool) -> bool:
        """Whether a request that arrives now is pushed back. Counts it."""
        scene, now = self._scene, self._world.now
        if scene.outage is not None and scene.outage[0] <= now < scene.outage[1]:
            return True
        if self._rng.random() < scene.stray and (is_submit or not scene.strays_of_submits):
            return True
        if (
            scene.rps is not None
            and (is_submit or not scene.rps_of_submits)
            and not self._is_within_rate(now)
        ):
            return True
        return is_submit and self.cap is not None and self._in_flight + self._taken >= self.cap

    def accept(self, job: Job) -> None:
        self._in_flight += 1
        sigma = 0.3
        service_s = self._scene.service_s * self._rng.lognormvariate(-sigma * sigma / 2, sigma)

        def begin() -> None:
            self._running += 1
            job.has_begun = True
            self._world.after(service_s, end)

        def end() -> None:
            self._running -= 1
            self._in_flight -= 1
            job.has_ended = True
            if self._queue:
                self._queue.pop(0)()

        if self._running < self._scene.runners:
            begin()
        else:
            self._queue.append(begin)

    @property
    def _bucket(self) -> float:
        return max(1.0, (self._scene.rps or 0.0) * self._scene.burst_s)

    def _is_within_rate(self, now: float) -> bool:
        assert self._scene.rps is not None
        if self._scene.by_the_second:
            if int(now) != self._second:
                self._second, self._in_second = int(now), 0
            self._in_second += 1
            return self._in_second <= self._scene.rps
        self._tokens = min(self._bucket, self._tokens + (now - self._tokens_at) * self._scene.rps)
        self._tokens_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _change_others(self) -> None:
        self.taken.append(self._taken)
        most = int(self._scene.others * (self.cap or 0))
        self._taken = min(most, max(0, self._taken + self._rng.choice([-3, -2, -1, 1, 2, 3])))
        self._world.after(self._scene.service_s * self._rng.expovariate(1), self._change_others)


class Client:
    """One run.

    A job whose submit is refused lends its slot, and waits as ``gateway.retries`` has it.
    """

    def __init__(self, world: World, rule: Rule, *, counts_polled: bool) -> None:
        """``counts_polled``: a job's place is free once its end is seen, as an oracle has it that
        knows the cap.
        """
        self._world, self._rule = world, rule
        self._counts_polled = counts_polled
        self._left = world.scene.jobs
        self._again: list[Job] = []
        self._due: deque[tuple[Callable[[], None], int]] = deque()
        self._polled = False
        self._active = self._unanswered = self._in_flight = 0
        self._woken_at: float | None = None
        self.record = Record()

    @property
    def is_done(self) -> bool:
        return len(self.record.made) >= self._world.scene.jobs

    def pump(self) -> None:
        """Send what may be sent now: polls and submits in turns, if both wait."""
        while (self._polled and self._submit_next()) or self._poll_next() or self._submit_next():
            pass

    def _submit_next(self) -> bool:
        world = self._world
        if not (self._again or self._left) or self._places >= self._rule.allowed:
            return False
        at = self._rule.next_submit_at(world.now, self._unanswered)
        if at > world.now + 1e-9:
            self._wake_at(at)
            return False
        if self._again:
            job = self._again.pop()
        else:
            job = Job()
            self._left -= 1
        self._active += 1
        self._polled = False
        self._submit(job)
        return True

    def _poll_next(self) -> bool:
        world = self._world
        if not self._due:
            return False
        at = self._rule.requests.next_at(world.now)
        if at > world.now + 1e-9:
            self._wake_at(at)
            return False
        self._polled = True
        self._rule.requests.sent(world.now)
        self._send(*self._due.popleft())
        return True

    @property
    def _places(self) -> int:
        return self._in_flight + self._unanswered if self._counts_polled else self._active

    def _wake_at(self, at: float) -> None:
        if at < math.inf and (self._woken_at is None or not self._world.now < self._woken_at <= at):
            self._woken_at = at
            self._world.after(at - self._world.now, self.pump)

    def _submit(self, job: Job) -> None:
        world = self._world
        job.tries += 1
        job.submitted_at = sent_at = world.now
        self._unanswered += 1
        self._rule.submitted(world.now)

        def arrive() -> None:
            self.record.submits += 1
            is_refused = world.gateway.refuses(is_submit=True)
            if not is_refused:
                self.record.answered.append(world.now)
                world.gateway.accept(job)
            world.after(RTT_S / 2, refused if is_refused else accepted)

        def accepted() -> None:
            self._unanswered -= 1
            self._in_flight += 1
            self.record.accepted.append(world.now)
            self._rule.accepted()
            self._poll(job, 0.7 * world.scene.service_s)
            self.pump()

        def refused() -> None:
            self._unanswered -= 1
            self._active -= 1
            self.record.refused += 1
            self._rule.refused(
                world.now, sent_at, world.scene.retry_after_s or 0.0, self._in_flight
            )
            world.after(self._wait_s(job.tries), again)
            self.pump()

        def again() -> None:
            self._again.append(job)
            self.pump()

        world.after(RTT_S / 2, arrive)

    def _poll(self, job: Job, pause_s: float) -> None:
        def answered() -> None:
            if not job.has_ended:
                self._rule.polled(JobStatus.RUNNING if job.has_begun else JobStatus.QUEUED)
                age_s = world.now - job.submitted_at
                self._poll(
                    job, max(0.2 * world.scene.service_s, 0.1 * age_s) * world.rng.uniform(0.8, 1.2)
                )
                return
            self._in_flight -= 1
            self.pump()
            self._request(lambda: world.after(_DOWNLOAD_S, made))

        def made() -> None:
            self.record.made.append(world.now)
            self._active -= 1
            self._rule.ended(job.submitted_at, world.now - job.submitted_at)
            self.pump()

        world = self._world
        world.after(pause_s, lambda: self._request(answered))

    def _request(self, then: Callable[[], None], tries: int = 1) -> None:
        self._due.append((then, tries))
        self.pump()

    def _send(self, then: Callable[[], None], tries: int) -> None:
        world = self._world

        def arrive() -> None:
            is_refused = world.gateway.refuses(is_submit=False)
            if not is_refused:
                self.record.answered.append(world.now)
            world.after(RTT_S / 2, lambda: answered(is_refused=is_refused))

        def answered(*, is_refused: bool) -> None:
            self._rule.requests.poll_answered(world.now, is_refused=is_refused)
            if is_refused:
                world.after(self._wait_s(tries), lambda: self._request(then, tries + 1))
            else:
                then()

        world.after(RTT_S / 2, arrive)

    def _wait_s(self, tries: int) -> float:
        jitter, asked_s = self._world.rng.random(), self._world.scene.retry_after_s
        own_s = jitter * min(20.0, 0.5 * 2.0 ** (tries - 1))
        return own_s if asked_s is None else max(asked_s + 0.5 * jitter, own_s)


class World:
    """One scene, played to its end."""

    def __init__(
        self, scene: Scene, rule: Callable[[int | None], Rule], *, counts_polled: bool = False
    ) -> None:
        self.scene = scene
        self.rng = random.Random(scene.seed + 7)
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self.gateway = Gateway(self)
        self._clients = [
            Client(self, rule(scene.concurrency), counts_polled=counts_polled)
            for _ in range(scene.clients)
        ]
        for number, client in enumerate(self._clients):
            self.after(number * scene.apart_s, client.pump)
        if scene.later_cap is not None:
            at, cap = scene.later_cap
            self.after(at, lambda: setattr(self.gateway, "cap", cap))

    def after(self, wait_s: float, then: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + wait_s, next(self._count), then))

    def play(self) -> Sequence[Record]:
        while self._events and not all(client.is_done for client in self._clients):
            self.now, _, then = heapq.heappop(self._events)
            if self.now > self.scene.until_s:
                break
            then()
        return [client.record for client in self._clients]
