"""What a seed decides: the workers, the jobs, the budget, and what happens to the processes and
their network.
"""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass
from decimal import Decimal

PRICE = Decimal(2)


class Mishap(enum.Enum):
    """What happens to some of the processes. Each but the first two ends after a while."""

    KILLED = "killed"
    ASKED_TO_STOP = "asked to stop"
    FROZEN = "frozen"
    NO_GATEWAY = "no gateway"


@dataclass(frozen=True, slots=True)
class Event:
    """A mishap of the processes of these workers at a time, for some seconds.

    Number 0 runs the manifest.
    """

    at_s: float
    mishap: Mishap
    who: tuple[int, ...]
    for_s: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that is decided before anything happens.

    ``wait_s`` is how long a killed process is not replaced.
    """

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
            "version: 1\nname: fleet\nworkflow: zimage-base\n"
            f"retry: {{attempts: {self.attempts}}}\n"
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
    return Scenario(
        seed=seed,
        workers=workers,
        shards=shards,
        jobs=jobs,
        budget=PRICE * affordable + chance.choice((0, 1)),
        ceiling=PRICE * chance.choice((1, 1, 1, 2, 4)),
        attempts=chance.choice((1, 2, 3)),
        concurrency=chance.choice((1, 2, 4)),
        gateway_faults=chance.choice(
            ("", "", "fail:0.1", "fail:0.3", "429:0.05", "drop-after:0.05,fail:0.1")
        ),
        time_scale=time_scale,
        wait_s=chance.choice((1.0, 10.0, 40.0)),
        events=tuple(_events(chance, workers, horizon_s)),
    )


def _events(chance: random.Random, workers: int, horizon_s: float) -> list[Event]:
    """Draw mishaps: of single processes, of a few, and seldom of all.

    In half of the seeds, most of them are of one kind that lasts: long outages, or processes that
    wake up.
    """
    events = [
        _event(chance, workers, horizon_s) for _ in range(chance.randint(3, 8) + workers // 4)
    ]
    kind = chance.choice((None, None, Mishap.NO_GATEWAY, Mishap.FROZEN))
    if kind is not None:
        events += [
            Event(chance.uniform(4.0, horizon_s / 2), kind, (number,), chance.uniform(16.0, 24.0))
            for number in range(1, workers + 1)
        ]
    return sorted(events, key=lambda event: event.at_s)


def _event(chance: random.Random, workers: int, horizon_s: float) -> Event:
    most = chance.choice((1, 1, max(1, workers // 4), workers + 1))
    who = tuple(sorted(chance.sample(range(workers + 1), min(most, workers + 1))))
    for_s = chance.choice((3.0, 14.0, 18.0, 25.0, 40.0)) * chance.uniform(0.8, 1.2)
    return Event(chance.uniform(1.0, horizon_s), chance.choice(list(Mishap)), who, for_s)
