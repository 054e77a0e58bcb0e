"""What the rule costs where the price stands still: submits by the gateway's clock, with a budget and without."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.verification.pricing.book import Answer, Arrival
from tests.verification.pricing.running import Bench, Wish, bench
from tests.verification.pricing.world import World, fixed


@dataclass(frozen=True)
class Pace:
    submits: int
    submitted: float  # seconds from the first arrival to the last answer to a submit
    whole: float  # seconds of the whole command
    code: int | None


def measured(made: Bench, budget: str | None) -> Pace:
    with made.gateway:
        outcome = made.run(budget)
    events = made.gateway.book.events
    arrivals = [event.at for event in events if isinstance(event, Arrival)]
    answers = [event.at for event in events if isinstance(event, Answer)]
    return Pace(len(arrivals), max(answers) - min(arrivals), outcome.seconds, outcome.code)


def submits(folder: Path, count: int, budget: str | None, **ceilings: str) -> Pace:
    """So many jobs at a price of 2, answered in 0.1 s, that take no time."""
    world = World(fixed(2), rtt=(0.1, 0.1), service=0.05)
    return measured(bench(folder, world, [Wish()] * count, **ceilings), budget)


def runners(folder: Path, count: int, budget: str | None) -> Pace:
    """Jobs of 2 s on 20 runners."""
    world = World(fixed(2), rtt=(0.1, 0.1), service=2.0, runners=20)
    return measured(bench(folder, world, [Wish()] * count), budget)


def table() -> list[str]:
    lines = ["what                                     submits  submitted    whole  exit"]
    with tempfile.TemporaryDirectory(prefix="pace-") as name:
        folder = Path(name)
        for words, run in {
            "300 jobs, no budget": lambda at: submits(at, 300, None),
            "300 jobs, room to spare": lambda at: submits(at, 300, "100000"),
            "300 jobs, made to measure": lambda at: submits(at, 300, "600"),
            "300 jobs, made to measure, ceiling": lambda at: submits(at, 300, "600", max_credits_per_job="2"),
            "100 jobs of 2 s on 20, no budget": lambda at: runners(at, 100, None),
            "100 jobs of 2 s on 20, to measure": lambda at: runners(at, 100, "200"),
        }.items():
            pace = run(folder / words.replace(" ", "-"))
            lines.append(f"{words:40} {pace.submits:7} {pace.submitted:8.2f} s {pace.whole:6.2f} s {pace.code:5}")
    return lines
