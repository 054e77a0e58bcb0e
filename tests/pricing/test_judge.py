"""The judge itself: it passes a client that keeps the rule, and catches each bug that is planted in it."""

from decimal import Decimal

import pytest

from tests.pricing.gateway import Gateway
from tests.pricing.judge import Verdict, judge, story
from tests.pricing.reference import BUGS, Reference, Want, jobs, uploads
from tests.pricing.world import Ask, Quote, World, fixed, lying, same, stepped

RTT = (0.01, 0.02)


def played(world: World, wants: list[Want], budget: str, bug: str = "", **ceilings: Decimal) -> Verdict:
    with Gateway(world) as gateway:
        Reference(gateway, wants, Decimal(budget), bug=bug, **ceilings).run()
    verdict = judge(gateway.book)
    print(verdict.figures(), *verdict.breaches, story(gateway.book), sep="\n")
    return verdict


def by_size(ask: Ask) -> Quote:
    return same(2 if ask.params["size.width"] == 512 else 16)


def test_the_rule_comes_to_what_the_design_states() -> None:
    sizes = jobs(80, width=lambda number: 2048 if number else 512)
    declared = played(World(by_size, rtt=RTT), sizes, "50", per_job=Decimal(16))
    assert (declared.charged, declared.breaches) == (50, [])
    sizes = jobs(80, width=lambda number: 2048 if number else 512)
    plain = played(World(by_size, rtt=RTT), sizes, "50")
    assert (plain.charged, plain.breaches) == (50, [])
    free = played(World(stepped((0, 0), (1, 100)), rtt=RTT), jobs(64), "50")
    assert (free.charged, free.breaches) == (100, [])
    rising = played(World(stepped((0, 2), (10, 20)), rtt=RTT), jobs(64), "200")
    assert (rising.charged, rising.breaches) == (200, [])
    stored = played(World(lambda ask: same(25 if ask.accepted else 0.5), rtt=RTT), uploads(40), "60")
    assert (stored.charged, stored.breaches) == (Decimal("50.5"), [])


def test_by_chance_with_faults_and_kills_the_rule_passes() -> None:
    def price(ask: Ask) -> Quote:
        figure = Decimal(ask.random.randint(1, 20))
        return same(min(figure, ask.bound or figure))

    def fault(ask: Ask) -> str | None:
        return ask.random.choice([None, None, None, "429", "503", "cut-before", "cut-after"])

    world = World(price, rtt=RTT, fault=fault, seed=2, fails=lambda ask: ask.random.random() < 0.2)
    with Gateway(world) as gateway:
        client = Reference(gateway, jobs(40, width=lambda number: 64 * (number % 5)), Decimal(150))
        client.run(kill_after=7)
        client.run(kill_after=5)
        client.run()
    verdict = judge(gateway.book)
    assert not verdict.breaches, (*map(str, verdict.breaches), story(gateway.book))


CAUGHT = {
    "no bound": (World(stepped((0, 2), (10, 20)), rtt=RTT), jobs, "100", {}),
    "no ceiling": (World(stepped((0, 2), (3, 60)), rtt=RTT), jobs, "70", {"per_job": Decimal(64)}),
    "no slow start": (World(fixed(1), rtt=RTT), jobs, "1000", {}),
    "not alone": (World(stepped((0, 0), (1, 100)), rtt=RTT), jobs, "50", {}),
    "expects nothing": (World(fixed(7), rtt=RTT), jobs, "30", {}),
    "newest price": (World(lambda ask: same(12 if ask.accepted % 7 == 3 else 1), rtt=RTT), jobs, "30", {}),
    "doubt is free": (
        World(fixed(4), rtt=RTT, fault=lambda ask: "cut-after" if ask.attempt == 1 and ask.accepted % 4 == 2 else None),
        jobs,
        "150",
        {},
    ),
    "answers only": (World(lambda _ask: lying(1, 5, 5), rtt=RTT), jobs, "60", {}),
    "never stops": (World(stepped((0, 2), (5, 9)), rtt=(0.2, 0.2)), jobs, "400", {"per_job": Decimal(4)}),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_the_rule_is_caught(bug: str) -> None:
    world, wants, budget, ceilings = CAUGHT[bug]
    assert not played(world, wants(24), budget, **ceilings).breaches
    assert played(world, wants(24), budget, bug, **ceilings).breaches
