"""The judge itself: it passes a client that keeps the rule, and catches each bug that is planted in it."""

from dataclasses import replace
from decimal import Decimal

import pytest

from tests.case_table import each_case
from tests.verification.pricing.book import Answer, Book, Cut, Row, Started
from tests.verification.pricing.gateway import Gateway
from tests.verification.pricing.judge import Verdict, judge, story
from tests.verification.pricing.reference import BUGS, Reference, Want, jobs, uploads
from tests.verification.pricing.world import Ask, Quote, World, fixed, lying, same, stepped

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


def written(budget: int, *steps: str, per_job: int | None = None) -> Verdict:
    """A book by hand, a tenth of a second a step: `a!` arrives, `a?` is cut, `a429` is refused, `a=5` answered,
    `a$5` charged, `wait` is three seconds."""
    book, at, numbers = Book(), 0.0, {}
    book.note(Started(at, Decimal(budget), None if per_job is None else Decimal(per_job)))
    for step in steps:
        at += 3.0 if step == "wait" else 0.1
        unit, mark, figure = step[:1], step[1:2], step[2:]
        if mark == "!":
            numbers[unit] = book.arrival(unit, "flat", "s", figure).number
            book.events[-1] = replace(book.events[-1], at=at)
        elif mark == "?":
            book.note(Cut(at, numbers[unit], unit))
        elif mark == "=":
            book.note(Answer(at, numbers[unit], unit, 202, Decimal(figure)))
        elif mark == "$":
            book.note(Row(at, "reserve", unit, Decimal(figure)))
        elif mark == "4":
            book.note(Answer(at, numbers[unit], unit, 429))
    return judge(book)


FIRST = ("a!", "a$2", "a=2")


@each_case(
    "budget, steps, per_job, kinds",
    [
        (100, [*FIRST, "b!", "b$2", "c!", "c$2"], None, set()),
        (100, [*FIRST, "b!", "b$2", "c!", "c$2", "d!", "d$2"], None, {"pace"}),  # one was answered: two at once
        (65, [*FIRST, "b!", "b$2", "c!", "c$2"], None, {"bound"}),  # 2 + 32 + 32 is more than 65
        (66, [*FIRST, "b!", "b$2", "c!", "c$2"], None, set()),
        (20, [*FIRST, "b!", "b$18", "b=18"], None, set()),  # alone, and nobody could know
        (20, [*FIRST, "b!", "b$19", "b=19", "c!"], None, {"bound"}),
        (3, [*FIRST, "b!"], None, {"bound"}),  # expected at 2, and 1 is left
        (100, ["a!", "b!"], None, {"alone"}),
        (100, ["a!", "a$0", "a=0", "b!", "b=0", "c!", "d!"], None, {"alone"}),
        (100, [*FIRST, "b!", "b?", "c!", "c=2", "d!", "d=2"], None, set()),  # one in doubt holds no more than its bound
        (66, [*FIRST, "b!", "b?", "c!", "c=2", "d!"], None, set()),  # and with its bound held, another may go alone
        (66, [*FIRST, "b!", "b?", "c!", "c=2", "d!", "e!"], None, {"bound"}),
        (100, ["a!", "a?", "b!"], None, {"alone"}),  # but not beside one in doubt without a bound
        (66, [*FIRST, "b!", "b?", "b!", "b429", "c!", "c=2", "d!"], None, set()),  # refused is not answered: it holds
        (33, [*FIRST, "b!", "b?", "b!", "b429", "c!"], None, {"bound"}),
        (68, [*FIRST, "b!", "b429", "c!", "c=2", "d!", "e!"], None, set()),  # but what was never in doubt is free
        (60, [*FIRST, "b!", "b$30", "b=30", "wait", "c!", "d!"], None, {"bound"}),
        (2000, [*FIRST, "b!", "b$30", "b=30", "wait", "c!", "d!"], None, {"pace"}),  # one at first after a surprise
        (50, [*FIRST, "b!", "b$9", "b=9", "wait", "c!"], 4, {"stopped"}),
        (5, [*FIRST, "b!", "b$4"], 4, {"over"}),  # within the ceiling, so nothing may be exceeded
        (5, [*FIRST, "b!", "b$2"], 4, set()),
        (90, ["a!x", "a$2", "a=2", "b!x", "b$2"], None, {"twice"}),
    ],
)
def test_a_book_by_hand(budget: int, steps: list[str], per_job: int | None, kinds: set[str]) -> None:
    verdict = written(budget, *steps, per_job=per_job)
    assert verdict.kinds() == kinds, verdict.breaches
