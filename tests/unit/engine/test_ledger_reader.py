"""The reader of the gateway's ledger: when it reads, what counts, and what it can't have seen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from decimal import Decimal

import pytest

from crucible_batch.core.events import (
    Accepted,
    Created,
    Event,
    Failed,
    Held,
    JobLost,
    Refunded,
    RefundForgotten,
    Succeeded,
)
from crucible_batch.core.gateway_types import Account, ErrorInfo, LedgerEntry
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.ledger_coverage import LedgerCoverage
from crucible_batch.engine.journaled_ledger import JournaledLedger
from crucible_batch.errors import GatewayError, JournalError, KeyRefusedError
from tests.harness.case_table import each_case
from tests.harness.job_events import accepted_event, held_event, intended_event
from tests.harness.replacing import replace
from tests.unit.engine.readings import Readings, reader_of
from tests.unit.engine.test_slots import Clock, kept, settled

D = Decimal
ERROR = ErrorInfo("X", "x")
NO_ANSWER = GatewayError("no answer", code="NO_ANSWER")
OTHERS = [
    LedgerEntry(f"other-{number}", "reserve", D(1), job_id=f"other-{number}")
    for number in range(50)
]


def entry(
    kind: str, job_id: str | None, amount: object = 2, *, name: str = "", **fields: str
) -> LedgerEntry:
    return LedgerEntry(name or f"{kind} {job_id}", kind, D(str(amount)), job_id=job_id, **fields)


class Gateway:
    """An account with the entries that it lists now. ``answers``: not before it is set."""

    def __init__(self, entries: Sequence[LedgerEntry]) -> None:
        self.entries = list(entries)
        self.reads = 0
        self.fault: GatewayError | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def account(self) -> Account:
        self.reads += 1
        number, entries = self.reads, tuple(self.entries)
        await self.answers.wait()
        if self.fault is not None:
            raise self.fault
        return Account(D(number), D(0), D(number), entries)


class Store(Readings):
    """Readings in memory. ``kept`` are the entries of each reading that were new or had changed."""

    def __init__(
        self, entries: Sequence[LedgerEntry] = (), coverage: LedgerCoverage | None = None
    ) -> None:
        super().__init__(entries, coverage)
        self.kept: list[list[str]] = []
        self.is_full = False

    async def keep_reading(
        self, entries: Sequence[LedgerEntry], coverage: LedgerCoverage, answered_at: float
    ) -> None:
        if self.is_full:
            raise JournalError("the disk is full")
        self.kept.append([each.key for each in entries])
        await super().keep_reading(entries, coverage, answered_at)


class Bench:
    """A reader with its accounting; ``recorded`` are the events that it has journalled."""

    def __init__(
        self,
        entries: Sequence[LedgerEntry] = OTHERS,
        *,
        store: Store | None = None,
        patience_s: float = 600.0,
    ) -> None:
        self.clock = Clock()
        self.gateway = Gateway(entries)
        self.store = Store() if store is None else store
        self.recorded: list[Event] = []
        self.ledger = Ledger()
        self.accounting = JournaledLedger(self, self.ledger, D(100))
        self.reader = reader_of(
            self.gateway, self.accounting, self.clock, store=self.store, patience_s=patience_s
        )

    async def append(self, _subject: str, event: Event) -> None:
        self.recorded.append(event)

    async def buy(
        self, name: str, price: object = 2, *, attempt: int = 1, found: bool = False
    ) -> None:
        """A job of the gateway ``NAME-ATTEMPT`` is bought, or found."""
        for event in purchase(self.clock.now(), name, price, attempt=attempt, found=found):
            await self.accounting.record(name, event)

    async def fail(
        self, name: str, price: object = 2, *, attempt: int = 1, found: bool = False
    ) -> None:
        await self.buy(name, price, attempt=attempt, found=found)
        await self.accounting.record(name, Failed(at=self.clock.now(), error=ERROR))

    def failed_before(self, name: str, price: object = 2, *, at: float = 1.0) -> None:
        """An earlier run left an attempt whose refund is open."""
        for event in (*purchase(at, name, price), Failed(at=at, error=ERROR)):
            self.ledger.apply(name, event)

    @property
    def refunds(self) -> list[str]:
        return [event.entry_id for event in self.recorded if isinstance(event, Refunded)]

    def kept_reading(self) -> AbstractAsyncContextManager[None]:
        return kept(self.reader.keep())

    async def reads_in(self, *seconds: float) -> list[int]:
        """The readings so far after each of these waits."""
        counts = []
        for wait in seconds:
            await self.clock.move(wait)
            counts.append(self.gateway.reads)
        return counts


def purchase(
    at: float, name: str, price: object, *, attempt: int = 1, found: bool = False
) -> list[Event]:
    credits = D(str(price))
    return [
        Held(at=at, attempt=attempt, key="k", credits=credits, price_class="workflow:w"),
        Accepted(at=at, job_id=f"{name}-{attempt}", credits=credits, reused=found),
    ]


# -- what an entry releases


async def test_a_refund_that_is_listed_is_recorded_once() -> None:
    bench = Bench()
    await bench.fail("Fox")
    bench.gateway.entries.append(entry("refund", "fOX-1"))
    for _ in range(2):
        await bench.reader.read()
    assert bench.recorded[-1] == Refunded(
        at=100.0, attempt=1, credits=D(2), entry_id="refund fOX-1"
    )
    assert (bench.refunds, bench.ledger.held, bench.ledger.refunded) == (["refund fOX-1"], 0, 2)


async def test_each_attempt_gets_its_own_refund() -> None:
    bench = Bench()
    await bench.fail("fox", 2)
    await bench.fail("fox", 3, attempt=2)
    bench.gateway.entries.append(entry("refund", "fox-2", 3))
    await bench.reader.read()
    assert (bench.ledger.held_for_refunds, bench.ledger.refunded) == (2, 3)


async def test_what_was_listed_before_the_failure_was_known_counts_when_it_is() -> None:
    """The list has newer entries only by then."""
    bench = Bench([*OTHERS, entry("refund", "fox-1")])
    await bench.buy("fox")
    await bench.reader.read()
    bench.gateway.entries = [*OTHERS, entry("bonus", "fox-1")]
    await bench.reader.read()
    bench.gateway.entries = list(OTHERS)
    await bench.accounting.record("fox", Failed(at=101.0, error=ERROR))
    await bench.reader.read()
    assert (bench.refunds, bench.ledger.held) == (["refund fox-1"], 0)


async def test_what_an_earlier_run_saw_counts_although_it_is_not_listed_any_more() -> None:
    bench = Bench(store=Store([entry("refund", "fox-1")]))
    bench.failed_before("fox")
    await bench.reader.begin()
    assert (bench.refunds, bench.ledger.held) == (["refund fox-1"], 0)


async def test_a_text_that_names_two_open_jobs_shows_no_refund_of_either() -> None:
    bench = Bench()
    await bench.fail("fox")
    await bench.fail("owl")
    bench.gateway.entries.append(
        entry("refund", None, name="both", description="refund of fox-1 and owl-1")
    )
    await bench.reader.read()
    assert (bench.refunds, bench.ledger.held) == ([], 4)
    bench.gateway.entries.append(entry("refund", None, name="one", description="refund of fox-1"))
    await bench.reader.read()
    assert (bench.refunds, bench.ledger.held) == (["one"], 2)


FOX, OWL = "0198c1d2-0000-7000-8000-00000000000a", "0198c1d2-0000-7000-8000-00000000000b"


@each_case(
    "texts",
    [{"description": f"{FOX}, {OWL}"}, {"description": f"of {FOX}", "more": (f"follows {OWL}",)}],
)
async def test_a_text_that_names_a_job_of_ours_and_another_shows_no_refund(
    texts: dict[str, object],
) -> None:
    bench = Bench()
    await bench.accounting.record("fox", held_event(2))
    await bench.accounting.record("fox", accepted_event(2, FOX))
    await bench.accounting.record("fox", Failed(at=1.0, error=ERROR))
    both = LedgerEntry("both", "refund", D(2), **texts)  # type: ignore[arg-type]
    bench.gateway.entries.append(both)
    await bench.reader.read()
    assert (bench.refunds, bench.ledger.held) == ([], 2)
    bench.gateway.entries.append(
        entry("refund", None, name="one", description=f"refund of {FOX}, {FOX.upper()}")
    )
    await bench.reader.read()
    assert (bench.refunds, bench.ledger.held) == (["one"], 0)


async def test_a_refund_that_is_taken_back_in_a_later_reading_is_held_again() -> None:
    """The sum is over all entries that were read, also those that are not listed any more."""
    bench = Bench([*OTHERS, entry("refund", "fox-1", 1, name="first")])
    await bench.fail("fox")
    await bench.reader.read()
    bench.gateway.entries = [*OTHERS, entry("refund", "fox-1", -1, name="back")]
    await bench.reader.read()
    bench.gateway.entries = [*OTHERS, entry("refund", "fox-1", 1, name="third")]
    await bench.reader.read()
    assert (bench.refunds, bench.ledger.held) == (["first", "back", "third"], 1)


async def test_a_refund_that_is_taken_back_is_waited_for_until_the_patience_is_over() -> None:
    bench = Bench([*OTHERS, entry("refund", "fox-1", 2, name="first")], patience_s=60)
    await bench.fail("fox")
    await bench.reader.read()
    async with bench.kept_reading():
        await bench.clock.move(10)
        bench.gateway.entries = [*OTHERS, entry("refund", "fox-1", -2, name="back")]
        await bench.reader.read()
        assert bench.reader.awaited == 2
        for _ in range(30):
            await bench.clock.move(5)
        assert bench.reader.awaited == 0


async def test_what_the_reading_before_had_about_a_job_whose_id_was_not_known_yet_counts() -> None:
    """The gateway has bought and refunded it, and the answer comes later."""
    bench = Bench([*OTHERS, entry("refund", "fox-1")])
    await bench.reader.read()
    bench.gateway.entries = list(OTHERS)
    await bench.fail("fox")
    await bench.reader.read()
    assert (bench.refunds, bench.ledger.held) == (["refund fox-1"], 0)


async def test_a_refund_counts_only_once_its_reading_is_journalled() -> None:
    bench = Bench([*OTHERS, entry("refund", "fox-1")])
    await bench.fail("fox")
    bench.store.is_full = True
    with pytest.raises(JournalError):
        await bench.reader.read()
    assert (bench.refunds, bench.ledger.held) == ([], 2)


async def test_of_a_job_whose_end_and_refund_are_known_no_entry_is_kept() -> None:
    bench = Bench([*OTHERS, entry("reserve", "fox-1"), entry("reserve", "owl-1")])
    await bench.buy("fox")
    await bench.buy("owl")
    await bench.reader.read()
    await bench.accounting.record("owl", Succeeded(at=101.0, outputs=1))
    await bench.reader.read()
    assert set(bench.reader._about) == {"fox-1"}


# -- what is journalled


async def test_a_reading_is_journalled_with_the_entries_that_are_new_or_have_changed() -> None:
    bench = Bench([entry("reserve", "a"), entry("refund", "b", status="pending")])
    await bench.reader.read()
    await bench.clock.move(1)
    bench.gateway.entries = [entry("reserve", "a"), entry("refund", "b"), entry("refund", "c")]
    await bench.reader.read()
    assert bench.store.kept == [["reserve a", "refund b"], ["refund b", "refund c"]]
    assert bench.store.coverage == replace(
        LedgerCoverage.of(bench.gateway.entries, 101.0), since=100.0
    )


async def test_a_reading_is_dated_when_it_was_asked_for() -> None:
    bench = Bench()
    bench.gateway.answers.clear()
    reading = asyncio.create_task(bench.reader.read())
    await settled()
    await bench.clock.move(30)
    bench.gateway.answers.set()
    await reading
    assert bench.store.coverage is not None
    assert (bench.store.coverage.since, bench.store.coverage.until) == (100.0, 100.0)
    # What was charged while it was under way may be in its answer.
    assert set(bench.store.ledger_entries_seen().values()) == {130.0}


async def test_the_newest_reading_has_its_own_time_whatever_the_clock_of_an_earlier_run() -> None:
    bench = Bench(store=Store([], replace(LedgerCoverage.of(OTHERS, 5000.0), since=1.0)))
    assert bench.reader.read_at == 0
    await bench.reader.begin()
    assert bench.reader.read_at == 0
    await bench.reader.read()
    assert bench.reader.read_at == bench.clock.now()
    bench.clock.time -= 10
    assert bench.reader.read_at == 0


async def test_readings_continue_those_of_the_run_before() -> None:
    bench = Bench(store=Store([], replace(LedgerCoverage.of(OTHERS, 50.0), since=1.0)))
    await bench.reader.begin()
    await bench.reader.read()
    assert bench.store.coverage is not None
    assert (bench.store.coverage.since, bench.store.coverage.until) == (1.0, 100.0)


# -- the beginning and the end of a run


async def test_a_run_reads_at_its_beginning_only_if_credits_are_held_for_refunds() -> None:
    bench = Bench()
    bench.ledger.apply("owl", held_event(2))
    await bench.reader.begin()
    assert bench.gateway.reads == 0
    bench.failed_before("fox")
    await bench.reader.begin()
    assert (bench.gateway.reads, bench.ledger.held_for_refunds) == (1, 2)


async def test_a_person_releases_what_is_not_visible_in_the_first_reading_either() -> None:
    bench = Bench([*OTHERS, entry("refund", "fox-1", "0.5"), entry("refund", "owl-1", 3)])
    bench.failed_before("fox", 2)
    bench.failed_before("owl", 3)
    bench.failed_before("cat", 4)
    await bench.reader.begin(forget_by="mia@studio")
    assert bench.recorded[-1] == RefundForgotten(at=100.0, attempt=1, credits=D(4), by="mia@studio")
    assert [type(event) for event in bench.recorded] == [Refunded, Refunded, RefundForgotten]
    assert (bench.ledger.held, bench.ledger.refunded) == (D("1.5"), D("3.5")), (
        "the rest of the fox did not come"
    )
    await bench.reader.begin(forget_by="mia@studio")
    assert len(bench.recorded) == 3


async def test_nothing_is_released_if_the_ledger_could_not_be_read() -> None:
    bench = Bench()
    bench.failed_before("fox", 2)
    bench.gateway.fault = NO_ANSWER
    await bench.reader.begin(forget_by="mia@studio")
    assert (bench.recorded, bench.ledger.held) == ([], 2)
    bench.gateway.fault = None
    await bench.reader.begin(forget_by="mia@studio")
    assert bench.ledger.held == 0


@each_case("event", [Accepted, Created, Succeeded, JobLost, Failed])
async def test_a_run_reads_at_its_end_if_something_happened_since_the_last_reading(
    event: type[Event],
) -> None:
    bench = Bench()
    await bench.buy("fox", 0)
    await bench.reader.read()
    await bench.reader.end()
    assert bench.gateway.reads == 1
    match event.__name__:
        case "Accepted":
            await bench.buy("owl")
        case "Created":
            await bench.accounting.record("asset:x", intended_event(1, "fox"))
            await bench.accounting.record("asset:x", Created(at=1.0, asset_id="a", credits=D(1)))
        case "Succeeded":
            await bench.accounting.record("fox", Succeeded(at=1.0, outputs=1))
        case "JobLost":
            await bench.accounting.record("fox", JobLost(at=1.0, error=ERROR))
        case _:
            await bench.accounting.record("fox", Failed(at=1.0, error=ERROR))
    await bench.reader.end()
    await bench.reader.end()
    assert bench.gateway.reads == 2


async def test_a_run_reads_at_its_end_while_credits_are_held_for_refunds() -> None:
    bench = Bench()
    await bench.fail("fox")
    for _ in range(2):
        await bench.reader.end()
    assert bench.gateway.reads == 2


@each_case("is_cancelled", [True, False])
async def test_what_a_reading_without_an_answer_would_have_shown_is_read_at_the_end(
    is_cancelled: bool,
) -> None:
    bench = Bench()
    await bench.buy("fox")
    await bench.accounting.record("fox", Succeeded(at=100.0, outputs=1))
    if is_cancelled:
        bench.gateway.answers.clear()
        reading = asyncio.create_task(bench.reader.read())
        await settled()
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        bench.gateway.answers.set()
    else:
        bench.gateway.fault = NO_ANSWER
        assert await bench.reader.read() is None
        bench.gateway.fault = None
    await bench.reader.end()
    assert (bench.gateway.reads, len(bench.store.kept)) == (2, 1)


# -- shared readings


async def test_callers_share_a_reading_that_begins_after_their_calls() -> None:
    bench = Bench()
    bench.gateway.answers.clear()
    first = asyncio.create_task(bench.reader.read())
    await settled()
    later = [asyncio.create_task(bench.reader.read()) for _ in range(3)]
    await settled()
    bench.gateway.answers.set()
    accounts = [await each for each in (first, *later)]
    assert [None if each is None else each.available for each in accounts] == [1, 2, 2, 2]
    assert bench.gateway.reads == 2


async def test_a_reading_that_was_cancelled_serves_nobody_else() -> None:
    bench = Bench()
    await bench.reader.read()
    bench.gateway.answers.clear()
    first, second, third = (asyncio.create_task(bench.reader.read()) for _ in range(3))
    await settled()
    first.cancel()
    await settled()
    second.cancel()
    await settled()
    bench.gateway.answers.set()
    account = await third
    assert account is not None
    assert account.available == bench.gateway.reads > 1


async def test_a_refused_key_is_raised_and_any_other_error_is_no_account() -> None:
    bench = Bench()
    woken: list[int] = []
    bench.reader.on_reading.append(lambda: woken.append(bench.gateway.reads))
    await bench.reader.read()
    bench.gateway.fault = NO_ANSWER
    assert await bench.reader.read() is None
    assert woken == [1, 2]
    assert len(bench.store.kept) == 1
    bench.gateway.fault = KeyRefusedError("no", code="UNAUTHORIZED")
    with pytest.raises(KeyRefusedError):
        await bench.reader.read()


# -- when it reads


async def test_without_purchases_it_never_reads() -> None:
    bench = Bench()
    async with bench.kept_reading():
        assert await bench.reads_in(5, 600) == [0, 0]


@each_case("is_end", [True, False])
async def test_after_a_purchase_or_an_end_it_reads_every_five_seconds(is_end: bool) -> None:
    bench = Bench()
    await bench.buy("fox")
    async with bench.kept_reading():
        assert bench.gateway.reads == 1
        await bench.clock.move(1)
        if is_end:
            await bench.accounting.record("fox", Succeeded(at=101.0, outputs=1))
        else:
            await bench.buy("owl")
        assert await bench.reads_in(3.9, 0.1, 60) == [1, 2, 2]


async def test_after_a_failure_it_reads_immediately() -> None:
    bench = Bench()
    async with bench.kept_reading():
        await bench.fail("fox")
        assert await bench.reads_in(0) == [1]


async def test_one_reading_serves_all_failures_of_half_a_second() -> None:
    bench = Bench()
    async with bench.kept_reading():
        await bench.fail("fox")
        await bench.clock.move(0)
        for name in ("owl", "elk", "cat"):
            await bench.fail(name)
            await bench.clock.move(0.125)
        assert await bench.reads_in(0.0625, 0.0625, 0.25) == [1, 2, 2]


async def test_while_a_refund_is_awaited_it_reads_after_a_second_then_less_often() -> None:
    bench = Bench()
    await bench.reader.read()
    async with bench.kept_reading():
        await bench.fail("fox")
        assert await bench.reads_in(0.5) == [2]
        assert await bench.reads_in(1.4, 0.1) == [2, 3]
        assert await bench.reads_in(2.2, 0.1) == [3, 4]
        for _ in range(9):
            await bench.clock.move(5)
        read = bench.gateway.reads
        assert await bench.reads_in(4.9, 0.1) == [read, read + 1]


async def test_once_all_is_refunded_the_next_failure_is_waited_for_from_a_second_on() -> None:
    bench = Bench()
    async with bench.kept_reading():
        await bench.fail("fox")
        for _ in range(9):
            await bench.clock.move(5)
        bench.gateway.entries.append(entry("refund", "fox-1"))
        await bench.clock.move(5)
        assert bench.ledger.held == 0
        read = bench.gateway.reads
        await bench.fail("owl")
        assert await bench.reads_in(0.5, 1.4, 0.1) == [read + 1, read + 1, read + 2]


@each_case("count, reads", [(25, [2, 3, 4]), (24, [2, 2, 2])])
async def test_if_the_next_readings_might_not_overlap_it_reads_four_times_a_second(
    count: int, reads: list[int]
) -> None:
    """25 failed jobs may bring 25 refunds, which is half of the list."""
    bench = Bench()
    await bench.reader.read()
    async with bench.kept_reading():
        for number in range(count):
            await bench.fail(f"job-{number}")
        await bench.clock.move(0.5)
        assert await bench.reads_in(0.24, 0.01, 0.25) == reads


async def test_the_longer_nothing_has_failed_the_less_often_it_reads() -> None:
    bench = Bench()
    await bench.reader.read()
    async with bench.kept_reading():
        for number in range(25):
            await bench.fail(f"job-{number}")
        await bench.clock.move(240.0)
        await bench.clock.move(1.1)
        (read,) = await bench.reads_in(0.0)
        assert await bench.reads_in(0.9, 1.2) in ([read, read + 1], [read + 1, read + 2])


@each_case("count, is_end, reads", [(24, False, 3), (23, False, 2), (24, True, 3), (23, True, 2)])
async def test_what_was_bought_and_has_ended_counts_for_the_overlap_of_the_next_reading(
    count: int, is_end: bool, reads: int
) -> None:
    """Each brings an entry, and so may the refund that is awaited: 25 are half of the list."""
    bench = Bench()
    for number in range(count if is_end else 0):
        await bench.buy(f"job-{number}")
    await bench.reader.read()
    async with bench.kept_reading():
        await bench.fail("fox")
        assert await bench.reads_in(0.5) == [2]
        for number in range(count):
            if is_end:
                await bench.accounting.record(f"job-{number}", Succeeded(at=101.0, outputs=1))
            else:
                await bench.buy(f"job-{number}")
        assert await bench.reads_in(0.25) == [reads]


async def test_a_ledger_that_stays_empty_is_read_no_more_often_and_slows_no_purchase() -> None:
    bench = Bench([])
    await bench.reader.read()
    async with bench.kept_reading():
        await bench.fail("fox")
        assert await bench.reads_in(0.5, 1.4, 0.1) == [2, 2, 3]
        assert await bench.reads_in(2.2, 0.1) == [3, 4]
    assert await bought_between_readings(bench) == 50


async def test_a_ledger_that_empties_is_a_gap() -> None:
    bench = Bench()
    await bench.fail("fox")
    await bench.reader.read()
    bench.gateway.entries = []
    await bench.reader.read()
    assert await bought_between_readings(bench) == 1


async def test_after_a_gap_it_reads_twice_as_often() -> None:
    bench = Bench()
    await bench.reader.read()
    bench.gateway.entries = [entry("reserve", f"new-{number}") for number in range(50)]
    async with bench.kept_reading():
        await bench.fail("fox")
        assert await bench.reads_in(0.5) == [2]
        assert await bench.reads_in(0.4, 0.1) == [2, 3]


async def test_however_many_gaps_there_are_it_reads_at_most_four_times_a_second() -> None:
    bench = Bench()
    await bench.reader.read()
    async with bench.kept_reading():
        await bench.fail("fox")
        counts = []
        for wait in (0.5, 0.5, 0.25, 0.125, 0.125, 0.125, 0.125):
            crowd(bench, 50)
            counts += await bench.reads_in(wait)
        assert counts == [2, 3, 4, 4, 5, 5, 6]


async def test_the_refunds_that_are_not_awaited_any_more_are_read_for_every_five_seconds() -> None:
    bench = Bench(patience_s=0.0)
    async with bench.kept_reading():
        await bench.fail("fox")
        assert await bench.reads_in(0, 4.9, 0.1, 4.9, 0.1) == [1, 1, 2, 2, 3]


async def test_a_gateway_that_does_not_answer_is_asked_no_more_often() -> None:
    bench = Bench()
    await bench.reader.read()
    bench.gateway.fault = NO_ANSWER
    async with bench.kept_reading():
        await bench.fail("fox")
        assert await bench.reads_in(0.5, 0.9, 0.1, 0.9, 0.1) == [2, 2, 3, 3, 4]


# -- less is bought after a gap


def crowd(bench: Bench, length: int = 8) -> None:
    """Others fill the list, so that nothing overlaps."""
    names = (f"{bench.gateway.reads}-{number}" for number in range(length))
    bench.gateway.entries = [LedgerEntry(name, "reserve", D(1)) for name in names]


async def bought_between_readings(bench: Bench) -> int:
    """How many jobs can be bought before the ledger is read."""
    read = bench.gateway.reads
    for bought in range(50):
        await bench.reader.before_purchase()
        if bench.gateway.reads > read:
            return bought
        await bench.buy(f"job-{read}-{bought}")
    return 50


async def test_after_a_gap_half_as_much_is_bought_until_readings_overlap_again() -> None:
    bench = Bench()
    await bench.fail("fox")
    await bench.reader.read()
    assert await bought_between_readings(bench) == 50
    crowd(bench)
    await bench.reader.read()
    assert await bought_between_readings(bench) == 25  # of the 50 before the gap
    crowd(bench)
    await bench.buy("a")
    await bench.buy("b")
    await bench.buy("c")
    await bench.reader.read()
    # Half of three, then twice as many after each reading that overlaps, until that is the length
    # of the list.
    assert [await bought_between_readings(bench) for _ in range(4)] == [1, 2, 4, 50]


async def test_at_least_one_is_bought_between_two_readings_however_often_there_is_a_gap() -> None:
    bench = Bench()
    await bench.fail("fox")
    await bench.reader.read()
    for _ in range(3):
        crowd(bench)
        await bench.reader.read()
    assert await bought_between_readings(bench) == 1


async def test_without_refunds_that_are_awaited_a_gap_slows_no_purchase() -> None:
    bench = Bench()
    await bench.reader.read()
    crowd(bench)
    await bench.reader.read()
    assert await bought_between_readings(bench) == 50


async def test_a_reading_without_an_answer_is_repeated_before_the_next_purchase() -> None:
    bench = Bench()
    await bench.fail("fox")
    await bench.reader.read()
    crowd(bench)
    await bench.reader.read()
    await bench.buy("owl")
    bench.gateway.fault = NO_ANSWER
    assert await bought_between_readings(bench) == 0
    assert await bought_between_readings(bench) == 0


# -- how long a refund is waited for


async def test_a_refund_is_awaited_from_its_failure_until_the_patience_is_over() -> None:
    bench = Bench(patience_s=60.0)
    await bench.clock.move(500)
    await bench.fail("fox")
    assert bench.reader.awaited == 2
    for wait, awaited in ((0, 2), (59, 2), (1, 0)):
        await bench.clock.move(wait)
        await bench.reader.read()
        assert bench.reader.awaited == awaited
    await bench.fail("owl", 3)
    assert bench.reader.awaited == 3
    await bench.reader.read()
    assert (bench.reader.awaited, bench.ledger.held_for_refunds) == (3, 5)


async def test_a_refund_of_an_earlier_run_is_awaited_from_that_failure_on() -> None:
    bench = Bench(patience_s=60.0)
    bench.failed_before("old", 5, at=39.0)
    bench.failed_before("fox", at=70.0)
    await bench.reader.begin()
    for wait, awaited in ((0, 2), (29, 2), (1, 0)):
        await bench.clock.move(wait)
        await bench.reader.read()
        assert bench.reader.awaited == awaited
    assert bench.ledger.held_for_refunds == 7


async def test_a_clock_that_is_set_moves_no_patience_of_this_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(patience_s=60.0)
    bench.failed_before("old", 5, at=70.0)
    await bench.fail("fox")
    monkeypatch.setattr(bench.clock, "now", lambda: bench.clock.time + 1e6)
    await bench.reader.read()
    assert bench.reader.awaited == 2
    monkeypatch.setattr(bench.clock, "now", lambda: bench.clock.time - 1e6)
    await bench.clock.move(59)
    await bench.reader.read()
    assert bench.reader.awaited == 7
    await bench.clock.move(1)
    await bench.reader.read()
    assert bench.reader.awaited == 0, "the clock of an earlier run may have been ahead"


async def test_the_patience_ends_also_if_the_gateway_does_not_answer() -> None:
    bench = Bench(patience_s=60.0)
    await bench.fail("fox")
    bench.gateway.fault = NO_ANSWER
    await bench.clock.move(60)
    woken: list[Decimal] = []
    bench.reader.on_reading.append(lambda: woken.append(bench.reader.awaited))
    await bench.reader.read()
    assert woken == [0]


async def test_of_a_refund_that_came_in_part_the_rest_is_awaited_and_counts_as_invisible() -> None:
    bench = Bench([*OTHERS, entry("refund", None, "0.5", description="fox-1")], patience_s=60.0)
    await bench.fail("fox", 2, found=True)
    await bench.fail("owl", 3)
    await bench.reader.read()
    bench.gateway.entries = [LedgerEntry("new", "reserve", D(1))]
    await bench.clock.move(30)
    await bench.reader.read()
    assert (bench.reader.awaited, bench.reader.invisible_of_found) == (D("4.5"), D("1.5"))
    await bench.clock.move(30)
    await bench.fail("elk", 5)
    await bench.reader.read()
    assert bench.reader.awaited == 5


async def test_what_comes_after_the_patience_is_not_less_than_nothing() -> None:
    bench = Bench(patience_s=0.0)
    await bench.fail("fox")
    await bench.fail("owl")
    await bench.reader.read()
    await bench.accounting.record("fox", Refunded(at=1.0, attempt=1, credits=D(2), entry_id="e"))
    assert bench.reader.awaited == 0


# -- what would have been seen


async def verdict(bench: Bench) -> str:
    await bench.reader.read()
    return "not visible" if "is not visible" in bench.reader.missing().message else "did not come"


async def test_a_refund_did_not_come_if_the_ledger_shows_the_job_without_it() -> None:
    bench = Bench([*OTHERS, entry("reserve", "fox-1")])
    await bench.reader.read()
    await bench.clock.move(1)
    await bench.fail("fox")
    assert await verdict(bench) == "did not come"
    assert bench.reader.missing().message.startswith("the refund of 2 credits for job fox ")


@each_case(
    "kind, expected",
    [
        *(
            (kind, "not visible")
            for kind in ("bonus", "refund_fee", "reservation_released", "consume_reversal")
        ),
        *((kind, "did not come") for kind in ("reserve", "refund")),
    ],
)
async def test_an_entry_about_it_whose_words_are_unknown_may_be_the_refund(
    kind: str, expected: str
) -> None:
    bench = Bench([*OTHERS, entry(kind, "fox-1", 0.5)])
    await bench.reader.read()
    await bench.clock.move(1)
    await bench.fail("fox")
    assert await verdict(bench) == expected
    await bench.reader.begin(forget_by="mia@studio")
    assert bool(bench.ledger.held) is (expected == "did not come")


async def test_a_refund_before_the_first_reading_is_not_visible() -> None:
    bench = Bench()
    await bench.fail("fox")
    assert bench.reader.missing().message.endswith("is not visible in the gateway's ledger")
    await bench.clock.move(1)
    assert await verdict(bench) == "not visible"


async def test_a_refund_in_a_gap_is_not_visible() -> None:
    bench = Bench()
    await bench.reader.read()
    await bench.fail("fox")
    await bench.clock.move(1)
    bench.gateway.entries = [entry("reserve", "new")]
    assert await verdict(bench) == "not visible"


async def test_an_entry_of_the_job_still_listed_shows_that_later_ones_would_be_too() -> None:
    bench = Bench([*OTHERS, entry("reserve", "fox-1")])
    await bench.fail("fox")
    await bench.clock.move(1)
    assert await verdict(bench) == "did not come"
    bench.gateway.entries = list(
        OTHERS
    )  # a refund that is listed late, at the place of its time, would not be shown
    assert await verdict(bench) == "not visible"


@each_case(
    "entries",
    [
        [entry("reserve", "owl-1"), entry("refund", "owl-1")],
        [LedgerEntry("1", "reserve", D(2)), LedgerEntry("2", "refund", D(2))],
    ],
)
async def test_a_ledger_that_does_not_name_the_job_does_not_show_its_refund(
    entries: list[LedgerEntry],
) -> None:
    bench = Bench(list(entries[:1]))
    await bench.reader.read()
    await bench.fail("fox")
    await bench.clock.move(1)
    bench.gateway.entries = entries
    assert await verdict(bench) == "not visible"


async def test_an_entry_that_names_the_job_beside_another_id_may_be_its_refund() -> None:
    """It is not counted, so it is not said that there was none either."""
    job, other = f"{1:08x}-0000-4000-8000-000000000000", f"{2:08x}-0000-4000-8000-000000000000"
    bench = Bench([LedgerEntry("1", "reserve", D(2), job_id=f"{job}-1")])
    await bench.fail(job)
    await bench.clock.move(1)
    assert await verdict(bench) == "did not come"
    text = f"of {job}-1 (reservation {other})"
    bench.gateway.entries = [
        *bench.gateway.entries,
        LedgerEntry("2", "refund", D(2), description=text),
    ]
    assert await verdict(bench) == "not visible"
    assert bench.ledger.held == 2


async def test_an_attempt_that_was_refunded_or_released_is_not_missing() -> None:
    bench = Bench([*OTHERS, entry("refund", "fox-1")])
    await bench.fail("fox")
    await bench.fail("owl", 3)
    await bench.fail("elk", 5)
    await bench.accounting.record("owl", RefundForgotten(at=1.0, attempt=1, credits=D(3), by="mia"))
    await bench.reader.read()
    assert "5 credits for job elk" in bench.reader.missing().message
    assert "fox" not in bench.reader.missing().message
    assert "owl" not in bench.reader.missing().message


# -- attempts that were found


async def test_readings_since_an_attempt_was_found_do_not_show_what_happened_before() -> None:
    bench = Bench()
    await bench.reader.read()
    await bench.clock.move(1)
    await bench.fail("fox", found=True)
    assert await verdict(bench) == "not visible"
    assert bench.reader.invisible_of_found == 2


@each_case(
    "change, invisible",
    [
        (lambda bench: bench.fail("fox", 2), "0"),
        (lambda bench: bench.fail("fox", 2, found=True), "2"),
        (lambda bench: bench.fail("seen", 2, found=True), "0"),
    ],
)
async def test_only_a_found_attempt_without_an_entry_may_have_been_refunded_before_the_list(
    change: Callable[[Bench], object], invisible: str
) -> None:
    bench = Bench([*OTHERS, entry("reserve", "seen-1")])
    await change(bench)  # type: ignore[misc]
    await bench.clock.move(1)
    await bench.reader.read()
    assert bench.reader.invisible_of_found == D(invisible)


async def test_nothing_is_invisible_as_long_as_no_reading_has_shown_an_entry() -> None:
    bench = Bench([])
    bench.gateway.fault = NO_ANSWER
    await bench.fail("fox", found=True)
    shown = []
    for fault, entries in ((NO_ANSWER, []), (None, []), (None, OTHERS), (None, [])):
        bench.gateway.fault, bench.gateway.entries = fault, list(entries)
        await bench.reader.read()
        shown.append(bench.reader.invisible_of_found)
    assert shown == [0, 0, 2, 0]


async def test_what_is_invisible_is_at_most_what_is_held() -> None:
    bench = Bench()
    await bench.fail("fox", found=True)
    await bench.reader.read()
    await bench.accounting.record(
        "fox", Refunded(at=1.0, attempt=1, credits=D("0.5"), entry_id="e")
    )
    assert bench.reader.invisible_of_found == D("1.5")


@each_case(
    "readings, how",
    [(1, {"reused": True}), (1, {"reused": False, "earlier": True}), (3, {"reused": False})],
)
async def test_an_entry_that_is_older_than_the_answer_to_its_submit_counts(
    readings: int, how: dict[str, bool]
) -> None:
    """It was read before the job's id was known, and is listed no more."""
    bench = Bench([*OTHERS, entry("reserve", "fox-1"), entry("refund", "fox-1")])
    held, *_ = purchase(1.0, "fox", 2)
    await bench.accounting.record("fox", held)
    await bench.reader.read()
    for _ in range(readings - 1):
        bench.gateway.entries = list(OTHERS)
        await bench.clock.move(5)
        await bench.reader.read()
    await bench.accounting.record("fox", Accepted(at=9.0, job_id="fox-1", credits=D(2), **how))
    await bench.accounting.record("fox", Failed(at=9.0, error=ERROR))
    bench.gateway.entries = list(OTHERS)
    await bench.clock.move(5)
    await bench.reader.read()
    assert (len(bench.refunds), bench.ledger.held) == (1, 0)
