"""What a seed decides: the workers, the jobs, the budget, and what happens to the processes and their network."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass, replace
from decimal import Decimal

PRICE = Decimal(2)
FIRST_WITH_LATE_RELEASES = 200
"""From this seed on, half of them have workers that return their shards when these have new owners already."""


class Mishap(enum.Enum):
    """What happens to some of the workers, or to the coordinator. Each but the first two ends after a while."""

    KILLED = "killed"
    ASKED_TO_STOP = "asked to stop"
    FROZEN = "frozen"
    NO_DATABASE = "no database"
    NO_GATEWAY = "no gateway"
    SLOW_DATABASE = "slow database"


@dataclass(frozen=True, slots=True)
class Event:
    """A mishap of the workers with these numbers at a time, for some seconds. Number 0 is the coordinator."""

    at_s: float
    mishap: Mishap
    who: tuple[int, ...]
    for_s: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that is decided before anything happens. ``wait_s`` is how long a killed process is not replaced."""

    seed: int
    workers: int
    shards: int
    jobs: int
    budget: Decimal
    ceiling: Decimal
    attempts: int
    concurrency: int
    gateway_faults: str
    time_scale: float
    wait_s: float
    events: tuple[Event, ...]

    @property
    def manifest(self) -> str:
        return (
            f"version: 1\nname: fleet\nworkflow: zimage-base\nretry: {{attempts: {self.attempts}}}\n"
            f"concurrency: {self.concurrency}\n"
            f"budget: {{credits: {self.budget}, max_credits_per_job: {self.ceiling}}}\n"
            'jobs:\n  - name: "picture-{{ n }}"\n    prompt: "picture {{ n }}"\n'
            f"    matrix: {{n: {list(range(self.jobs))}}}\n"
        )


def invent(seed: int, workers: int | None = None) -> Scenario:
    """Decide all that a seed stands for; ``workers`` overrides their number."""
    chance = random.Random(f"fleet {seed}")
    workers = workers or chance.choice((2, 3, 5, 8))
    shards = chance.choice((workers, workers + workers // 2, 2 * workers))
    jobs = shards * chance.choice((2, 3, 4))
    affordable = chance.choice((jobs, jobs, jobs * 2, jobs * 2 // 3, jobs // 2))
    time_scale = chance.choice((4.0, 15.0, 40.0))
    horizon_s = chance.choice((40.0, 80.0, 150.0))
    scenario = Scenario(
        seed=seed,
        workers=workers,
        shards=shards,
        jobs=jobs,
        budget=PRICE * affordable + chance.choice((0, 1)),
        ceiling=PRICE * chance.choice((1, 1, 1, 2, 4)),
        attempts=chance.choice((1, 2, 3)),
        concurrency=chance.choice((1, 2, 4)),
        gateway_faults=chance.choice(("", "", "fail:0.1", "fail:0.3", "429:0.05", "drop-after:0.05,fail:0.1")),
        time_scale=time_scale,
        wait_s=chance.choice((1.0, 10.0, 40.0)),
        events=tuple(_events(chance, workers, horizon_s)),
    )
    late = seed >= FIRST_WITH_LATE_RELEASES and chance.random() < 0.5
    return _with_late_releases(scenario, chance) if late else scenario


def _with_late_releases(scenario: Scenario, chance: random.Random) -> Scenario:
    """Cut half of the workers off from the database and ask them to stop, in a run of long jobs.

    They wind down and wait for the database, while idle ones take their shards over: what they return is too late.
    """
    number, shards = scenario.workers // 2, max(1, scenario.workers // 2)
    cut = [
        Event(chance.uniform(8.0, 30.0), Mishap.NO_DATABASE, (each,), chance.uniform(50.0, 70.0))
        for each in chance.sample(range(1, scenario.workers + 1), number)
    ]
    stops = [replace(event, at_s=event.at_s + 1.0, mishap=Mishap.ASKED_TO_STOP) for event in cut]
    others = [event for event in scenario.events if len(event.who) == 1 and event.at_s < 8.0]
    events = sorted((*others, *cut, *stops), key=lambda event: event.at_s)
    return replace(
        scenario,
        shards=shards,
        jobs=shards * 8,
        budget=PRICE * shards * 8,
        concurrency=1,
        time_scale=40.0,
        events=tuple(events),
    )


def _events(chance: random.Random, workers: int, horizon_s: float) -> list[Event]:
    """Draw mishaps: of single processes, of a few, and seldom of all.

    In half of the seeds, most of them are of one kind that outlasts a lease: late reports, or owners that wake up.
    """
    events = [_event(chance, workers, horizon_s) for _ in range(chance.randint(3, 8) + workers // 4)]
    kind = chance.choice((None, None, Mishap.NO_DATABASE, Mishap.FROZEN))
    if kind is not None:
        events += [
            Event(chance.uniform(4.0, horizon_s / 2), kind, (number,), chance.uniform(16.0, 24.0))
            for number in range(1, workers + 1)
        ]
    if kind is Mishap.NO_DATABASE and chance.random() < 0.6:  # what they return is returned late as well
        cuts = [replace(event, for_s=event.for_s + 15.0) for event in events[-workers:]]
        stops = [replace(event, at_s=event.at_s + 3.0, mishap=Mishap.ASKED_TO_STOP) for event in cuts]
        events = [*events[:-workers], *cuts, *stops]
    return sorted(events, key=lambda event: event.at_s)


def _event(chance: random.Random, workers: int, horizon_s: float) -> Event:
    most = chance.choice((1, 1, max(1, workers // 4), workers + 1))
    who = tuple(sorted(chance.sample(range(workers + 1), min(most, workers + 1))))
    for_s = chance.choice((3.0, 14.0, 18.0, 25.0, 40.0)) * chance.uniform(0.8, 1.2)
    return Event(chance.uniform(1.0, horizon_s), chance.choice(list(Mishap)), who, for_s)
