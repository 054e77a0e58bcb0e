"""What a seed decides of a run on many machines: its engine, its store, and what goes wrong."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass, field
from decimal import Decimal

from tests.verification.fleet.scenario import PRICE
from tests.verification.fleet.store import StoreFaults


class Trouble(enum.Enum):
    """What happens to some of the processes, to the store or to the network."""

    SHARD_KILLED = "a shard's process killed"
    WORKER_KILLED = "a worker killed"
    MACHINE_LOST = "a machine lost"
    FROZEN = "frozen, and woken with its clock set back"
    STARTED_TWICE = "a shard started twice"
    ASKED_TO_STOP = "a shard asked to stop"
    NO_GATEWAY = "no gateway"
    NO_STORE = "no store"
    STORE_AWAY = "the store away for all"
    COORDINATOR_KILLED = "the coordinator killed"
    COORDINATOR_FROZEN = "the coordinator frozen"


@dataclass(frozen=True, slots=True)
class TroubleEvent:
    """Trouble at a time for some seconds. ``share`` is that of the processes which it meets."""

    at_s: float
    trouble: Trouble
    share: float
    for_s: float


@dataclass(frozen=True, slots=True)
class MachinesScenario:
    """All that is decided before anything happens.

    ``engine`` is ``local``, ``workers`` or ``careless``: one that starts shards twice and forgets
    them. ``coordinators`` are started at the same moment, on one machine. In calm weather the run
    ends before ``longest_s``.
    """

    seed: int
    engine: str
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
    coordinators: int = 1
    longest_s: float = 1500.0
    store_faults: StoreFaults = field(default_factory=StoreFaults)
    events: tuple[TroubleEvent, ...] = ()

    @property
    def has_store_troubles(self) -> bool:
        """Whether a living process may be silent for a while."""
        silencing = {
            Trouble.FROZEN,
            Trouble.COORDINATOR_FROZEN,
            Trouble.NO_STORE,
            Trouble.STORE_AWAY,
        }
        return self.store_faults != StoreFaults() or any(
            event.trouble in silencing for event in self.events
        )

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


def calm(
    seed: int = 0, *, engine: str = "local", workers: int = 2, jobs: int = 6
) -> MachinesScenario:
    """Return a run in which nothing goes wrong."""
    return MachinesScenario(
        seed, engine, workers, 2 * workers, jobs, PRICE * jobs, PRICE, 1, 1, "", 4.0, 1.0
    )


def invent_machines(seed: int, workers: int | None = None) -> MachinesScenario:
    """Decide all that a seed stands for; ``workers`` overrides their number."""
    chance = random.Random(f"machines {seed}")
    workers = workers or chance.choice((2, 3, 5, 8))
    shards = chance.choice((workers, workers + 1, 2 * workers))
    jobs = shards * chance.choice((2, 3, 4))
    affordable = chance.choice((jobs, jobs, jobs * 2, jobs * 2 // 3, jobs // 2))
    horizon_s = chance.choice((40.0, 90.0, 150.0))
    return MachinesScenario(
        seed=seed,
        engine=chance.choice(("local", "workers", "workers", "careless")),
        workers=workers,
        shards=shards,
        jobs=jobs,
        budget=PRICE * affordable + chance.choice((0, 1)),
        ceiling=PRICE * chance.choice((1, 1, 1, 2)),
        attempts=chance.choice((1, 2, 3)),
        concurrency=chance.choice((1, 2, 4)),
        gateway_faults=chance.choice(("", "", "fail:0.1", "429:0.05", "drop-after:0.05,fail:0.1")),
        time_scale=chance.choice((2.0, 4.0, 15.0)),
        wait_s=chance.choice((1.0, 5.0, 20.0)),
        coordinators=chance.choice((1, 1, 1, 4)),
        store_faults=_store_faults(chance),
        events=tuple(_events(chance, workers, horizon_s)),
    )


def _store_faults(chance: random.Random) -> StoreFaults:
    if chance.random() < 0.2:
        return StoreFaults()
    most = chance.choice((0.01, 0.03))
    return StoreFaults(
        lost=chance.uniform(0.0, most),
        repeated=chance.uniform(0.0, 0.2),
        late=chance.uniform(0.0, most),
        refused=chance.uniform(0.0, most),
        slow=chance.uniform(0.0, 0.05),
    )


def _events(chance: random.Random, workers: int, horizon_s: float) -> list[TroubleEvent]:
    events = [_event(chance, horizon_s) for _ in range(chance.randint(4, 9) + workers // 8)]
    kills = chance.choice((0, 1, 3, 10))
    events += [
        TroubleEvent(chance.uniform(1.0, horizon_s), Trouble.COORDINATOR_KILLED, 1.0, 0.0)
        for _ in range(kills)
    ]
    return sorted(events, key=lambda event: event.at_s)


def _event(chance: random.Random, horizon_s: float) -> TroubleEvent:
    share = chance.choice((0.01, 0.01, 0.3, 1.0))
    for_s = chance.choice((3.0, 14.0, 18.0, 25.0, 60.0)) * chance.uniform(0.8, 1.2)
    return TroubleEvent(chance.uniform(1.0, horizon_s), chance.choice(list(Trouble)), share, for_s)
