"""A price world from a seed: what things cost, how the gateway behaves, what is asked for, and when it is killed."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from zlib import crc32

from tests.verification.pricing.judge import Verdict
from tests.verification.pricing.reference import Reference, Want, jobs_of
from tests.verification.pricing.running import Bench, Outcome, Wish, bench
from tests.verification.pricing.world import Ask, Price, Quote, World

Factor = Callable[[Ask], float]


@dataclass
class Scenario:
    """All of it follows from the seed, but for the order in which the program's requests arrive."""

    seed: int
    words: str
    world: World
    wishes: list[Wish]
    budget: str
    concurrency: str
    kills: list[int]  # kill -9 after so many accepted, once for each run but the last
    later: Price  # what things cost after the first kill
    ceilings: dict[str, str] = field(default_factory=dict)


def scenario(seed: int, *, images: bool = True) -> Scenario:
    random = Random(seed)
    base = random.choice([0.1, 1, 1, 2, 2, 7.5])
    name, factor = factors(random)
    lie = random.choice([1] * 8 + [2, 5, 40])
    upload = random.choice([0, 0.25, 0.5, 4])
    workflows = ("flat", "dear", "cheap")[: random.choice([1, 1, 2, 3])]
    count = random.randint(8, 40)
    wishes = [wish(random, workflows, number, images=images) for number in range(count)]
    kills = random.choice([[], [], [], [random.randint(1, 12)], [random.randint(1, 6), random.randint(1, 6)]])
    faults = random.choice([(), (), ("429", "503"), ("cut-after",), ("cut-before", "cut-after"), ("429", "cut-after")])
    world = World(
        price(base, upload, factor, lie),
        rtt=random.choice([(0.02, 0.05), (0.05, 0.15), (0.1, 0.2)]),
        service=random.choice([0.1, 0.3, 0.8]),
        fault=faulty(faults, random.choice([0.1, 0.3])),
        fails=failing(random.choice([0, 0, 0.2])),
        ledger_lag=random.choice([0, 0, 0, 0.3]),
        rebate=Decimal(random.choice(["0", "0.5"])),
        workflows=workflows,
        seed=seed,
    )
    ceilings = {}
    if random.random() < 0.35:
        ceilings["max_credits_per_job"] = f"{base * random.choice([1, 4, 16, 100]):g}"
    if upload and any(wish.image is not None for wish in wishes) and random.random() < 0.35:
        ceilings["max_credits_per_upload"] = f"{upload * random.choice([1, 4, 16]):g}"
    budget = f"{max(base, base * count * random.choice([0.5, 2, 2, 5, 20])):g}"
    rise = random.choice([1, 4, 16, 40])
    words = f"{name}, {base:g} a job, {upload:g} an upload, record ×{lie}, faults {faults}, ×{rise} after a kill"
    later = price(base * rise, upload * rise, factor, lie)
    return Scenario(
        seed, words, world, wishes, budget, random.choice(["4", "16", "64", "64", "auto"]), kills, later, ceilings
    )


def wish(random: Random, workflows: tuple[str, ...], number: int, *, images: bool) -> Wish:
    image = number if images and random.random() < 0.2 else None
    return Wish(random.choice(workflows), random.choice([512, 512, 1024, 2048]), None, image)


def factors(random: Random) -> tuple[str, Factor]:
    """By what a job's price is multiplied. `surge` stays within what a bound allows, the others need not."""
    at, times = random.randint(1, 20), random.choice([2, 8, 16, 60])
    steps = {
        "fixed": lambda _ask: 1,
        "by size": lambda ask: 1 + crc32(ask.shape.encode()) % 16,
        f"×{times} after {at}": lambda ask: times if ask.accepted >= at else 1,
        f"×{times} after {at / 8} s": lambda ask: times if ask.seconds >= at / 8 else 1,
        "chance": lambda ask: ask.random.randint(1, 16),
        "surge": lambda ask: 16 if ask.random.random() < 0.2 else 1,
        f"spikes of {times}": lambda ask: times if ask.random.random() < 0.1 else 1,
        "free at first": lambda ask: 0 if ask.accepted < min(at, 4) else 10,
        "free now and then": lambda ask: ask.random.choice([0, 1, 3]),
        "falling": lambda ask: max(1, 16 - ask.accepted),
        "climbing": lambda ask: 1 + ask.accepted // 3,
    }
    name = random.choice(sorted(steps))
    return name, steps[name]


def price(base: float, upload: float, factor: Factor, lie: float) -> Price:
    dear = {"dear": 4, "cheap": 0.25}

    def quote(ask: Ask) -> Quote:
        figure = Decimal(str(upload if ask.upload else base * dear.get(ask.workflow, 1))) * Decimal(str(factor(ask)))
        record = figure if ask.upload else figure * Decimal(str(lie))
        return Quote(figure, record, record)

    return quote


def faulty(kinds: tuple[str, ...], share: float) -> Callable[[Ask], str | None]:
    def fault(ask: Ask) -> str | None:
        hit = kinds and ask.attempt < 3 and ask.random.random() < share
        return ask.random.choice(kinds) if hit else None

    return fault


def failing(share: float) -> Callable[[Ask], bool]:
    return lambda ask: ask.random.random() < share


@dataclass
class Played:
    """What came of a scenario, and all that is wrong with it."""

    verdict: Verdict
    problems: list[str]
    story: str


def play(told: Scenario, folder: Path) -> Played:
    """The installed command, as often as it is killed and once more."""
    made = bench(folder, told.world, told.wishes, **told.ceilings)
    outcomes: list[Outcome] = []
    with made.gateway:
        for kill_after in told.kills:
            outcomes.append(made.run(told.budget, kill_after=kill_after, c=told.concurrency))
            made.gateway.change(price=told.later)
        outcomes.append(made.run(told.budget, c=told.concurrency))
    return _played(made, outcomes)


def _played(made: Bench, outcomes: list[Outcome]) -> Played:
    verdict = made.judged()
    problems = [str(breach) for breach in verdict.breaches]
    last = outcomes[-1]
    if last.code not in (0, 1, 4, 5):
        problems.append(last.words)
    elif made.books() < verdict.told:
        problems.append(f"the report has {made.report['credits']}, and the figures that were sent are {verdict.told}")
    return Played(verdict, problems, "\n".join([last.words, made.story()]))


def play_reference(told: Scenario, folder: Path) -> Played:
    """The same with the rule's shortest client in place of the command: whatever is found is the judge's fault."""
    made = bench(folder, told.world, [], **told.ceilings)
    ceiling = told.ceilings.get("max_credits_per_job")
    wants: list[Want] = jobs_of([(wish.workflow, wish.width) for wish in told.wishes])
    with made.gateway as gateway:
        client = Reference(gateway, wants, Decimal(told.budget), Decimal(ceiling) if ceiling else None)
        for kill_after in told.kills:
            client.run(kill_after)
            gateway.change(price=told.later)
        client.run()
        time.sleep(told.world.ledger_lag)
    return Played(made.judged(), [str(breach) for breach in made.judged().breaches], made.story())
