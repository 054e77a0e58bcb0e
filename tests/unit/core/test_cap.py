"""The cap over any gateway: prices by parameters, by time, by chance; answers in any order, or
none.

A submit is charged when it is sent and answered later, so all that is on the wire is at stake. The
judge keeps its own account of what was charged, and reads of the decisions only what was sent when.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.budget import (
    AdmissionState,
    Admit,
    Block,
    HoldRequest,
    SlowStart,
    decide_admission,
)
from crucible_batch.core.events import Accepted, Failed, Held, HoldReleased, Succeeded
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import PriceBook, Shape
from tests.harness.job_events import held_event

SHAPES = [Shape("workflow:w", "small"), Shape("workflow:w", "large"), Shape("workflow:v", "small")]
Price = Callable[[random.Random, Shape, int], Decimal]


@dataclass
class Sent:
    name: str
    shape: Shape
    price: Decimal
    hold: Decimal
    is_bounded: bool
    seen: Decimal | None


def by_parameters(_chance: random.Random, shape: Shape, _number: int) -> Decimal:
    return Decimal(16 if shape.digest == "large" else 2)


def by_time(_chance: random.Random, _shape: Shape, number: int) -> Decimal:
    return Decimal(2 if number < 10 else 20)


def free_at_first(_chance: random.Random, _shape: Shape, number: int) -> Decimal:
    return Decimal(0 if number == 0 else 100)


def by_chance(chance: random.Random, _shape: Shape, _number: int) -> Decimal:
    return Decimal(chance.choice((0, 1, 2, 3, 5, 30, 200)))


def doubling(_chance: random.Random, _shape: Shape, number: int) -> Decimal:
    return Decimal(2 ** min(number // 3, 9))


class Market:
    """Submits, answers and ends, in an order drawn by chance, under one budget."""

    def __init__(
        self, chance: random.Random, price: Price, budget: Decimal, ceiling: Decimal | None
    ) -> None:
        self.chance, self.price, self.budget, self.ceiling = chance, price, budget, ceiling
        self.books = Ledger(PriceBook(ceiling))
        self.slow_start = SlowStart()
        self.on_the_wire: list[Sent] = []
        self.running: list[str] = []
        self.charged = Decimal(0)
        self.allowed = budget
        self.sent = self.most_on_the_wire = 0

    def ask(self, shape: Shape) -> bool:
        """Ask for one job, and send it if it is admitted. False where it is blocked."""
        situation = AdmissionState(
            others_active=bool(self.on_the_wire or self.running),
            unanswered=len(self.on_the_wire),
            limit=self.slow_start.limit,
            is_one_alone=any(not sent.is_bounded for sent in self.on_the_wire),
        )
        seen = self.books.prices.expected(shape)
        decision = decide_admission(HoldRequest(shape), self.books, self.budget, situation)
        if isinstance(decision, Block):
            return False
        if isinstance(decision, Admit):
            self.send(shape, decision, seen)
        elif self.on_the_wire:
            self.answer()
        else:
            self.end()
        return True

    def send(self, shape: Shape, admit: Admit, seen: Decimal | None) -> None:
        name, price = f"job-{self.sent}", self.price(self.chance, shape, self.sent)
        self.sent += 1
        held = held_event(admit.credits, price_class=shape.price_class)
        self.books.apply(
            name, Held(**{**_fields(held), "shape": shape.digest, "alone": admit.alone})
        )
        self.on_the_wire.append(Sent(name, shape, price, admit.credits, not admit.alone, seen))
        self.most_on_the_wire = max(self.most_on_the_wire, len(self.on_the_wire))
        self.charged += price
        # What the rule states: beyond the hold of a bounded one only a price above its bound can
        # go, and of those without a bound there is one at a time, beside no other.
        bound = self.ceiling if self.ceiling is not None else seen and 16 * seen
        if not admit.alone:
            assert bound
            self.allowed += max(Decimal(0), price - bound)
        else:
            assert len(self.on_the_wire) == 1
            assert self.ceiling is None, "a declared ceiling is the bound"
            self.allowed += max(Decimal(0), price - admit.credits)
        assert self.charged <= self.allowed

    def answer(self) -> None:
        sent = self.on_the_wire.pop(self.chance.randrange(len(self.on_the_wire)))
        if self.chance.random() < 0.05:
            self.charged -= sent.price
            self.books.apply(sent.name, HoldReleased(at=1.0, error=ErrorInfo("X", "x")))
            return
        self.slow_start = self.slow_start.after(sent.seen, sent.price)
        self.books.apply(
            sent.name, Accepted(at=1.0, job_id=sent.name, credits=sent.price, reused=False)
        )
        self.running.append(sent.name)
        assert self.books.committed >= self.charged - sum(
            late.price - late.hold for late in self.on_the_wire
        )

    def end(self) -> None:
        name = self.running.pop(self.chance.randrange(len(self.running)))
        if self.chance.random() < 0.1:
            self.charged -= self.books.hold_of(name)
            self.books.apply(name, Failed(at=2.0, error=ErrorInfo("X", "x")))
            return
        self.books.apply(name, Succeeded(at=2.0, outputs=1))


def _fields(held: Held) -> dict[str, object]:
    return {
        name: getattr(held, name) for name in ("at", "attempt", "key", "credits", "price_class")
    }


def play(
    chance: random.Random,
    price: Price,
    budget: Decimal,
    ceiling: Decimal | None = None,
    jobs: int = 60,
) -> Market:
    market = Market(chance, price, budget, ceiling)
    wanted = jobs
    while wanted:
        before = market.sent
        action = chance.random()
        if action < 0.15 and market.on_the_wire:
            market.answer()
        elif action < 0.2 and market.running:
            market.end()
        elif not market.ask(chance.choice(SHAPES)):
            break
        wanted -= market.sent - before
    return market


@given(
    chance=st.randoms(use_true_random=False),
    price=st.sampled_from([by_parameters, by_time, free_at_first, by_chance, doubling]),
    budget=st.integers(1, 400).map(Decimal),
)
def test_without_a_ceiling_only_a_price_above_its_bound_or_one_alone_can_exceed(
    chance: random.Random, price: Price, budget: Decimal
) -> None:
    play(chance, price, budget)


@given(
    chance=st.randoms(use_true_random=False),
    price=st.sampled_from([by_parameters, by_time, by_chance, doubling]),
    budget=st.integers(1, 400).map(Decimal),
    ceiling=st.sampled_from([1, 16, 20, 512]).map(Decimal),
)
def test_with_a_declared_ceiling_nothing_exceeds_the_budget_at_all_unless_the_gateway_charges_more(
    chance: random.Random, price: Price, budget: Decimal, ceiling: Decimal
) -> None:
    market = play(chance, lambda *where: min(price(*where), ceiling), budget, ceiling)
    assert market.charged <= market.allowed == budget


def test_where_prices_stand_still_as_many_are_sent_at_once_as_ever() -> None:
    market = Market(random.Random(1), lambda *_: Decimal(2), Decimal(10**6), None)
    for _ in range(400):
        market.ask(SHAPES[0])
    assert market.most_on_the_wire >= 64
