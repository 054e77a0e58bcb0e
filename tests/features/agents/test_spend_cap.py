"""A server never spends more than its cap, whatever its runs do and in how many directories."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible_batch.core.events import (
    Accepted,
    BecameReady,
    Created,
    Deleted,
    Event,
    Failed,
    Held,
    HoldReleased,
    Intended,
    JobLost,
    Lost,
    Refunded,
    Repriced,
    SubmitUnknown,
    Succeeded,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import PriceBook
from crucible_batch.features.agents.spend_cap import JournalFigures, SpendCap, figures_of
from tests.harness.case_table import each_case
from tests.harness.job_events import accepted_event, held_event, intended_event

ERROR = ErrorInfo("X", "x")
CEILING = Decimal(5)
ZERO = Decimal(0)


def d(number: float) -> Decimal:
    return Decimal(str(number))


def held(credits: float = 5) -> Held:
    return held_event(credits, at=9.0)


def accepted(credits: float = 3, *, reused: bool = False) -> Accepted:
    return accepted_event(credits, at=9.0, reused=reused)


SUCCEEDED, FAILED = Succeeded(at=9.0, outputs=1), Failed(at=9.0, error=ERROR)
REFUNDED = Refunded(at=9.0, attempt=1, credits=Decimal(3), entry_id="e")
JOB, IMAGE = "a" * 64, "asset:" + "b" * 64


def figures(before: list[Event], since: list[Event], subject: str = JOB) -> JournalFigures:
    events = [(number, subject, event) for number, event in enumerate([*before, *since], 1)]
    return figures_of("id", events, PriceBook(CEILING, CEILING), after=len(before))


@each_case(
    "before, since, certain, new, used",
    [
        ([], [], 0, 0, 0),
        # bought before the server came: not its own, however it ends
        ([held(), accepted(), SUCCEEDED], [], 3, 0, 0),
        ([held(), accepted()], [], 0, 0, 0),
        ([held(), accepted()], [SUCCEEDED], 3, 0, 0),
        ([held(), accepted()], [FAILED], 0, 0, 0),
        # the server's
        ([], [held()], 0, 0, 5),
        ([], [held(), HoldReleased(at=9.0, error=ERROR)], 0, 0, 0),
        ([], [held(), SubmitUnknown(at=9.0, error=ERROR)], 0, 0, 5),
        ([], [held(), accepted()], 0, 0, 3),
        ([], [held(), accepted(), SUCCEEDED], 3, 3, 3),
        ([], [held(), accepted(), FAILED], 0, 0, 3),
        ([], [held(), accepted(), FAILED, REFUNDED], 0, 0, 0),
        ([], [held(), accepted(), JobLost(at=9.0, error=ERROR)], 0, 0, 3),
        # in doubt when the server came: it may be bought by being sent again
        ([held()], [], 0, 0, 5),
        ([held()], [accepted()], 0, 0, 3),
        ([held()], [accepted(), SUCCEEDED], 3, 3, 3),
        # a price that rises during the server's life
        ([held(), accepted(3)], [Repriced(at=9.0, credits=d(4)), SUCCEEDED], 4, 0, 0),
        ([], [held(), accepted(3), Repriced(at=9.0, credits=d(4)), SUCCEEDED], 4, 4, 4),
    ],
)
def test_which_charges_are_the_servers(
    before: list[Event], since: list[Event], certain: float, new: float, used: float
) -> None:
    found = figures(before, since)
    assert (found.certain, found.new, found.used) == (d(certain), d(new), d(used))
    assert found.events == len(before) + len(since)


def intended() -> Intended:
    return intended_event(2, JOB, at=9.0)


def created() -> Created:
    return Created(at=9.0, asset_id="i", credits=d(2))


@each_case(
    "before, since, new, used",
    [
        ([intended(), created(), BecameReady(at=9.0)], [], 0, 0),
        ([], [intended(), created()], 0, 2),
        ([], [intended(), created(), BecameReady(at=9.0)], 2, 2),
        # the rebate for an image that was bought before is not the server's
        ([intended(), created(), BecameReady(at=9.0)], [Deleted(at=9.0, rebate=d(1))], 0, 0),
        (
            [],
            [intended(), created(), BecameReady(at=9.0), Deleted(at=9.0, rebate=d(0.5))],
            1.5,
            1.5,
        ),
        # it may turn out not to be charged, so it is not certain
        ([], [intended(), Lost(at=9.0, nonce="n")], 0, 5),
    ],
)
def test_which_uploads_are_the_servers(
    before: list[Event], since: list[Event], new: float, used: float
) -> None:
    found = figures(before, since, IMAGE)
    assert (found.new, found.used) == (d(new), d(used))


def test_a_clock_that_is_set_back_moves_no_charge() -> None:
    before: list[Event] = [held(), accepted(), SUCCEEDED]
    late = [(number, JOB, event) for number, event in enumerate(before, 1)]
    early = held_event(5, at=-1e9)
    since = [(4, "b", early), (5, "b", accepted_event(4, "x", at=-1e9))]
    found = figures_of("id", [*late, *since], PriceBook(CEILING, CEILING), after=3)
    assert (found.certain, found.used) == (3, 4)


def at(
    certain: float, new: float = 0, used: float = 0, *, events: int = 1, mark: str = "id"
) -> JournalFigures:
    return JournalFigures(mark, events, d(certain), d(new), d(used))


def test_a_run_beyond_the_cap_is_refused_and_one_within_it_sets_its_budget_aside() -> None:
    cap = SpendCap(d(10))
    assert not cap.set_aside_for("/a", at(0), d(10.01), "id")
    assert (cap.allowance.spent, cap.allowance.set_aside, cap.allowance.left) == (0, 0, 10)
    assert cap.set_aside_for("/a", at(0), d(10), "id")
    assert (cap.allowance.spent, cap.allowance.set_aside, cap.allowance.left) == (0, 10, 0)


def test_runs_at_the_same_time_share_the_cap() -> None:
    cap = SpendCap(d(10))
    assert cap.set_aside_for("/a", at(0), d(6), "id")
    assert not cap.set_aside_for("/b", at(0), d(5), "id")
    assert cap.available("/b", at(0)) == 4
    assert cap.set_aside_for("/b", at(0), d(4), "id")


def test_what_a_run_did_not_spend_is_left_for_the_next_and_what_it_holds_is_not() -> None:
    cap = SpendCap(d(10))
    assert cap.set_aside_for("/a", at(0), d(10), "id")
    cap.settle("/a", at(3, 3, 5, events=9), "id")
    assert (cap.allowance.spent, cap.allowance.set_aside, cap.allowance.left) == (3, 2, 5)
    # the same directory may use what it holds again, if that is refunded
    assert cap.available("/a", at(3, 3, 5, events=9)) == 10
    assert cap.available("/b", at(0)) == 5


def test_what_was_spent_in_a_directory_before_does_not_count() -> None:
    cap = SpendCap(d(10))
    assert cap.available("/a", at(100)) == 110
    assert not cap.set_aside_for("/a", at(100), d(111), "id")
    assert cap.set_aside_for("/a", at(100), d(110), "id")
    assert cap.allowance.left == 0


def test_a_run_that_could_not_be_settled_keeps_all_that_it_set_aside() -> None:
    cap = SpendCap(d(10))
    assert cap.set_aside_for("/a", at(0), d(7), "id")
    assert not cap.set_aside_for("/b", at(0), d(4), "id")
    # the same directory again: its journal then shows the share
    assert cap.set_aside_for("/a", at(2, 2, 2, events=5), d(5), "id")
    assert cap.allowance.left == 5


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(at(0, events=0, mark=""), id="deleted and made again"),
        pytest.param(at(9, 9, 9, events=99, mark="of another server"), id="replaced by another"),
        pytest.param(at(1, 1, 1, events=3, mark="end"), id="from a backup"),
        pytest.param(at(1, 1, 1, events=40), id="a copy made during the run and continued"),
        pytest.param(at(3, 0, 0, events=12, mark="older"), id="from a backup, and used since"),
    ],
)
def test_a_journal_that_was_replaced_gives_nothing_back(other: JournalFigures) -> None:
    cap = SpendCap(d(10))
    assert cap.set_aside_for("/a", at(0), d(8), "id")
    cap.settle("/a", at(4, 4, 6, events=9), "end")
    cap.settle("/a", other, "id")
    assert (cap.allowance.spent, cap.allowance.set_aside) == (4, 2)
    assert cap.set_aside_for("/a", other, other.certain, "id")
    assert cap.allowance.spent + cap.allowance.set_aside >= 6
    assert cap.allowance.left <= 4


def test_a_run_whose_rebates_are_more_than_what_it_bought_is_settled() -> None:
    cap = SpendCap(d(50))
    assert cap.set_aside_for("/a", at(0), d(30), "first")
    cap.settle("/a", at(13, 13, 13, events=9, mark="first"), "first")
    assert cap.set_aside_for("/a", at(13, 13, 13, events=9, mark="first"), d(30), "second")
    cap.settle("/a", at(12, 12, 12, events=14, mark="second"), "second")
    assert (cap.allowance.spent, cap.allowance.set_aside, cap.allowance.left) == (12, 0, 38)


def test_a_replaced_journal_is_counted_from_its_own_beginning() -> None:
    cap = SpendCap(d(10))
    assert cap.first_use("/a", "id", 7) == 7
    assert cap.set_aside_for("/a", at(0, events=7), d(8), "id")
    assert cap.first_use("/a", "id", 20) == 7
    assert cap.first_use("/a", "id", 6) == 6
    assert cap.first_use("/a", "new", 50) == 50
    assert cap.first_use("/b", "id", 20) == 20


# -- any history


@dataclass
class Directory:
    """A run directory, with a client that keeps the rule of a run's budget, and the gateway's own
    bill."""

    name: str
    mark: str = ""
    events: list[tuple[int, str, Event]] = field(default_factory=list)
    budget: Decimal | None = None
    """That of the server's run which is active."""
    open: dict[str, tuple[str, Decimal, bool]] = field(default_factory=dict)
    """State, price and whether it is the server's, of each job that has not ended."""

    def add(self, subject: str, event: Event) -> None:
        self.events.append((len(self.events) + 1, subject, event))

    @property
    def ledger(self) -> Ledger:
        ledger = Ledger(PriceBook(CEILING, CEILING))
        for _, subject, event in self.events:
            ledger.apply(subject, event)
        return ledger

    def figures(self, cap: SpendCap) -> JournalFigures:
        after = cap.first_use(self.name, self.mark, len(self.events))
        return figures_of(self.mark, self.events, PriceBook(CEILING, CEILING), after=after)


class World:
    def __init__(self, limit: Decimal) -> None:
        self.cap = SpendCap(limit)
        self.uses = count()
        self.directories = [Directory("/a"), Directory("/b")]
        self.billed = ZERO
        """What the gateway has charged for submits of the server's runs, less the refunds of these.
        """
        self.jobs = 0

    def begin(self, directory: Directory, more: Decimal) -> None:
        if directory.budget is not None:
            return
        figures = directory.figures(self.cap)
        budget = max(self.cap.available(directory.name, figures), figures.certain) + (
            5 if more < 1 else 0
        )
        if more == 3:
            budget = min(budget, figures.certain + 2 * more)
        mark = f"use {next(self.uses)}"
        if self.cap.set_aside_for(directory.name, figures, budget, mark):
            directory.budget, directory.mark = budget, mark

    def end(self, directory: Directory, _price: Decimal) -> None:
        if directory.budget is not None:
            directory.budget = None
            figures, directory.mark = directory.figures(self.cap), f"use {next(self.uses)}"
            self.cap.settle(directory.name, figures, directory.mark)

    def crash(self, directory: Directory, _price: Decimal) -> None:
        directory.budget = None

    def delete(self, directory: Directory, _price: Decimal) -> None:
        if directory.budget is None:
            directory.events, directory.open, directory.mark = [], {}, ""

    def submit(self, directory: Directory, price: Decimal) -> None:
        """Hold the ceiling, send, and keep the answer for later.

        Without the server's run, another client buys.
        """
        is_servers = directory.budget is not None
        if directory.budget is not None and directory.ledger.committed + CEILING > directory.budget:
            return
        self.jobs += 1
        job = f"{self.jobs:064d}"
        directory.add(job, held())
        directory.open[job] = ("sent", price, is_servers)
        if is_servers:
            self.billed += price

    def _next(self, directory: Directory, state: str) -> str | None:
        return next((job for job, (now, _, _) in directory.open.items() if now == state), None)

    def answer(self, directory: Directory, _price: Decimal) -> None:
        """The answer of a submit, or of the same submit sent again by the server: then it may be
        bought only now.
        """
        if (job := self._next(directory, "sent")) is not None:
            _, price, is_servers = directory.open[job]
            if directory.budget is not None and not is_servers:
                if directory.ledger.committed > directory.budget:
                    return
                self.billed += price
                is_servers = True
            directory.add(job, Accepted(at=9.0, job_id="j", credits=price, reused=False))
            directory.open[job] = ("accepted", price, is_servers)

    def buy(self, directory: Directory, price: Decimal) -> None:
        for what in (self.submit, self.answer, self.succeed):
            what(directory, price)

    def lose(self, directory: Directory, price: Decimal) -> None:
        for what in (self.submit, self.answer, self.fail):
            what(directory, price)

    def leave(self, directory: Directory, price: Decimal) -> None:
        for what in (self.submit, self.answer):
            what(directory, price)

    def succeed(self, directory: Directory, _price: Decimal) -> None:
        if (job := self._next(directory, "accepted")) is not None:
            del directory.open[job]
            directory.add(job, SUCCEEDED)

    def fail(self, directory: Directory, _price: Decimal) -> None:
        if (job := self._next(directory, "accepted")) is not None:
            _, price, is_servers = directory.open.pop(job)
            directory.add(job, FAILED)
            self.billed -= price if is_servers else ZERO


STEPS = (
    "begin", "begin", "end", "end", "buy", "buy", "buy", "lose", "leave", "submit", "answer",
    "succeed", "fail", "crash", "delete",
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(limit=st.sampled_from([0, 5, 12, 20]), seed=st.integers(0, 2**32))
def test_no_history_of_runs_spends_more_than_the_cap(limit: int, seed: int) -> None:
    world, chance = World(Decimal(limit)), Random(seed)
    for _ in range(200):
        price = chance.choice([Decimal(5), Decimal(5), Decimal(3), Decimal("0.5"), ZERO])
        getattr(world, chance.choice(STEPS))(chance.choice(world.directories), price)
        assert world.billed <= limit


def test_a_run_gets_its_budget_beside_what_is_spent_for_good_and_not_beside_what_it_holds() -> None:
    """The answer to what is held may be that nothing was bought, and the run buys for it again."""
    cap = SpendCap(d(10))
    assert cap.set_aside_for(
        "a", JournalFigures("id", 1, certain=d(1), new=d(0), used=d(4)), d(9), "id"
    )
    assert (cap.allowance.set_aside, cap.allowance.left) == (8, 2)
