"""Charges and refunds of one second: whatever the order of the list, no credits are released that
were charged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from hypothesis import example, given, settings
from hypothesis import strategies as st

from crucible_batch.core.events import Event, Failed
from crucible_batch.core.gateway_types import LedgerEntry
from crucible_batch.core.ledger import Ledger
from tests.harness.case_table import each_case
from tests.unit.engine.test_ledger_reader import ERROR, Bench, Store, purchase

D = Decimal
PRICE = D(2)
WORDS = {"r": "reserve", "c": "consume", "b": "refund"}


@dataclass
class Books:
    """A gateway's ledger. ``tick`` is what its times are cut to, in seconds."""

    is_newest_first: bool
    tick: float = 1.0
    length: int = 50
    now: float = 1000.0
    entries: list[LedgerEntry] = field(default_factory=list)

    def book(self, kind: str, job: str, amount: Decimal = PRICE) -> None:
        at = self.now // self.tick * self.tick
        # Ids are random: their order is none.
        name = f"{len(self.entries) * 7 % 13}-{len(self.entries)}"
        self.entries.append(LedgerEntry(name, WORDS[kind], amount, at, job_id=f"{job}-1"))

    @property
    def listed(self) -> list[LedgerEntry]:
        newest = self.entries[-self.length :]
        return newest[::-1] if self.is_newest_first else newest

    def net(self, job: str) -> Decimal:
        """What a job costs: a charge is of what is reserved, and again of what was refunded."""
        cost = reserved = D(0)
        for entry in self.entries:
            if entry.job_id != f"{job}-1":
                continue
            if entry.entry_type == "reserve":
                cost, reserved = cost + entry.amount, reserved + entry.amount
            elif entry.entry_type == "refund":
                cost, reserved = cost - entry.amount, max(D(0), reserved - entry.amount)
            else:
                of_reserved = min(entry.amount, reserved)
                cost, reserved = cost + entry.amount - of_reserved, reserved - of_reserved
        return cost


class Runs:
    """Runs in one directory, whose jobs all fail. Each continues with what is journalled."""

    def __init__(self, books: Books, jobs: Sequence[str]) -> None:
        self.books = books
        self.store = Store()
        self.journal: list[tuple[str, Event]] = []
        for job in jobs:
            self.journal += [
                (job, event) for event in (*purchase(1.0, job, PRICE), Failed(at=2.0, error=ERROR))
            ]
        self.bench = self.restarted()

    def restarted(self) -> Bench:
        # SQLite gives the entries in the order of their keys.
        self.store.entries = dict(sorted(self.store.entries.items()))
        self.bench = Bench([], store=self.store)
        for job, event in self.journal:
            self.bench.ledger.apply(job, event)
        self.bench.accounting.on_entry(lambda job, event: self.journal.append((job, event)))
        return self.bench

    async def restart(self) -> None:
        self.bench = self.restarted()
        self.bench.gateway.entries = self.books.listed
        await self.bench.reader.begin()

    async def read(self) -> Ledger:
        self.bench.clock.time += 1
        self.bench.gateway.entries = self.books.listed
        await self.bench.reader.read()
        return self.bench.ledger


JOBS = ("fox", "owl")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["r", "c", "b", "b/2", "other"]),
        st.sampled_from(JOBS),
        st.sampled_from([0.0, 0.0, 0.0, 0.4, 1.0]),
        st.sampled_from(["", "", "read", "read and restart"]),
    ),
    max_size=12,
)


# The last charge has no order, and the one before it only the first refund to take back.
LAST_WITHOUT_ORDER = [
    *[("r", "fox", 0.0, "")] * 3,
    ("b", "owl", 0.0, ""),
    ("c", "owl", 1.0, ""),
    ("r", "fox", 0.0, ""),
    ("b", "owl", 0.0, ""),
    ("c", "owl", 0.0, "read"),
]


@example(LAST_WITHOUT_ORDER, False, 1.0, 4, False)
@settings(max_examples=200)
@given(
    STEPS, st.booleans(), st.sampled_from([1.0, 0.001]), st.sampled_from([4, 6, 50]), st.booleans()
)
def test_what_counts_is_never_less_than_the_ledger_has_charged(
    steps: Sequence[tuple[str, str, float, str]],
    is_newest_first: bool,
    tick: float,
    length: int,
    is_at_once: bool,
) -> None:
    """Entries that are listed are read before they are listed no more."""

    async def check() -> None:
        books = Books(is_newest_first, tick, length)
        runs = Runs(books, JOBS)
        for job in JOBS:
            books.book("r", job)
        unread = 2
        for kind, job, passed, what in steps:
            books.now += 0.0 if is_at_once else passed
            net = books.net(job)
            match kind:
                case "r":
                    books.book("r", "another")
                case "other":
                    books.book("b", "another")
                case "c":
                    books.book("c", job, PRICE if not net else D(1))
                    if books.net(job) > PRICE:
                        books.entries.pop()
                case _:
                    amount = net if kind == "b" else net / 2
                    books.book("b", job, amount)
            unread += 1
            if what or unread == length - 1:
                if "restart" in what:
                    await runs.restart()
                ledger = await runs.read()
                unread = 0
                for each in JOBS:
                    attempt = next(
                        found for found in ledger.failed_attempts() if found.subject == each
                    )
                    assert attempt.spent + attempt.held >= books.net(each)

    asyncio.run(check())


@each_case("is_newest_first", [False, True])
@each_case(
    "story, spent, back",
    [("rcb", "0", "2"), ("rbc", "2", "0"), ("rb", "0", "2"), ("rbcb", "0", "2")],
)
async def test_a_list_with_an_order_is_exact_in_both_directions_and_after_each_restart(
    is_newest_first: bool, story: str, spent: str, back: str
) -> None:
    for readings in range(1, len(story) + 1):
        books = Books(is_newest_first)
        books.book("r", "another")
        books.now += 5
        runs = Runs(books, JOBS)
        for kind in story[:readings]:
            for job in JOBS:
                books.book(kind, job)
        await runs.read()
        for kind in story[readings:]:
            for job in JOBS:
                books.book(kind, job)
        for _ in range(2):
            ledger = await runs.read()
            assert (ledger.spent, ledger.refunded, ledger.held) == (2 * D(spent), 2 * D(back), 0)
            await runs.restart()
            ledger = runs.bench.ledger
            assert (ledger.spent, ledger.refunded, ledger.held) == (2 * D(spent), 2 * D(back), 0)


@each_case("is_newest_first", [False, True])
@each_case("story, spent, back", [("cb", "0", "2"), ("bc", "2", "0")])
async def test_what_a_list_without_an_order_shows_is_held_until_a_later_list_has_one(
    is_newest_first: bool, story: str, spent: str, back: str
) -> None:
    books = Books(is_newest_first)
    runs = Runs(books, ["fox"])
    books.book("r", "fox")
    for kind in story:
        books.book(kind, "fox")
    for _ in range(2):
        ledger = await runs.read()
        assert (ledger.held, ledger.spent, ledger.refunded) == (2, 0, 0)
        assert "is not visible" in runs.bench.reader.missing().message
        await runs.restart()
    books.now += 1
    books.book("r", "another")
    ledger = await runs.read()
    assert (ledger.held, ledger.spent, ledger.refunded) == (0, D(spent), D(back))


@each_case("is_newest_first", [False, True])
async def test_the_order_of_entries_is_known_once_only_one_of_them_is_listed(
    is_newest_first: bool,
) -> None:
    books = Books(is_newest_first, length=4)
    books.book("r", "another")
    books.now += 1
    runs = Runs(books, ["fox"])
    for kind in "rcb":
        books.book(kind, "fox")
    await runs.read()
    for listed in (["refund"], []):
        for number in range(3):
            books.book("r", f"another {number}")
        assert [
            entry.entry_type for entry in books.entries[-4:] if entry.job_id == "fox-1"
        ] == listed
        await runs.restart()
        await runs.read()
        assert (runs.bench.ledger.refunded, runs.bench.ledger.held) == (2, 0)
