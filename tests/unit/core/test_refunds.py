"""Refunds: what a failed attempt still holds, which entries release it, and the message for one
that is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.attempt import (
    Attempt,
    AttemptStatus,
    RefundEvent,
    credits_committed,
    credits_paid,
)
from crucible_batch.core.events import (
    Accepted,
    Consumed,
    Event,
    Failed,
    Refunded,
    RefundForgotten,
)
from crucible_batch.core.gateway_types import ErrorInfo, LedgerEntry
from crucible_batch.core.job import Job, evolve
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.refunds import (
    FailedAttempt,
    is_unclear,
    missing_refunds,
    refund_events,
)
from tests.harness.case_table import each_case
from tests.harness.job_events import held_event
from tests.harness.replacing import replace

D = Decimal
ERROR = ErrorInfo("X", "x")


def failed(price: str = "2", *, subject: str = "fox", number: int = 1) -> FailedAttempt:
    return FailedAttempt(subject, number, "j", held_at=1.0, failed_at=2.0, credits=D(price))


def refunded(credits: str, entry_id: str = "r", *, attempt: int = 1) -> Refunded:
    return Refunded(at=3.0, attempt=attempt, credits=D(credits), entry_id=entry_id)


def consumed(credits: str, entry_id: str = "c", *, attempt: int = 1) -> Consumed:
    return Consumed(at=3.0, attempt=attempt, credits=D(credits), entry_id=entry_id)


def forgotten(credits: str, *, attempt: int = 1) -> RefundForgotten:
    return RefundForgotten(at=3.0, attempt=attempt, credits=D(credits), by="mia@studio")


def entry(kind: str, amount: object = 2, *, entry_id: str = "e", **fields: Any) -> LedgerEntry:
    return LedgerEntry(entry_id, kind, D(str(amount)), job_id="j", **fields)


# -- one attempt


@each_case(
    "events, held, spent, back",
    [
        ([], "2", "0", "0"),
        ([refunded("2")], "0", "0", "2"),
        ([refunded("0.5")], "1.5", "0", "0.5"),
        ([refunded("0.5"), refunded("1.5", "r2")], "0", "0", "2"),
        ([refunded("50")], "0", "0", "2"),
        ([consumed("2")], "0", "2", "0"),
        ([consumed("50")], "0", "2", "0"),
        ([consumed("0.5")], "1.5", "0.5", "0"),
        ([consumed("2"), refunded("2")], "0", "0", "2"),
        ([consumed("2"), refunded("0.5")], "0", "1.5", "0.5"),
        ([refunded("0.5"), consumed("2")], "0", "1.5", "0.5"),
        ([forgotten("2")], "0", "0", "0"),
        ([refunded("0.5"), forgotten("1.5")], "0", "0", "0.5"),
        ([forgotten("0.5"), forgotten("0.5")], "1", "0", "0"),
        ([forgotten("2"), refunded("2")], "0", "0", "2"),
        ([forgotten("2"), consumed("2")], "0", "2", "0"),
        ([forgotten("2"), refunded("2"), refunded("-2", "r2")], "2", "0", "0"),
    ],
)
def test_what_an_attempt_holds_has_spent_and_got_back(
    events: Sequence[RefundEvent], held: str, spent: str, back: str
) -> None:
    attempt = failed()
    for event in events:
        attempt = attempt.after(event)
    assert (attempt.held, attempt.spent, attempt.refunded) == (D(held), D(spent), D(back))


@each_case("event", [refunded("0.5"), consumed("0.5")])
def test_an_entry_counts_once(event: RefundEvent) -> None:
    once = failed().after(event)
    assert once.after(event) == once
    assert once.held == D("1.5")


def test_a_charge_and_a_refund_without_ids_of_their_own_both_count() -> None:
    assert failed().after(consumed("2", "e")).after(refunded("2", "e")).spent == 0


# -- any order of events

AMOUNTS = st.decimals(min_value=0, max_value=8, places=2)
JOBS = ("fox", "owl")
ATTEMPTS = tuple((job, number) for job in JOBS for number in (1, 2))
IDS = st.sampled_from(["a", "b", "c"])
History: TypeAlias = tuple[dict[tuple[str, int], Decimal], list[tuple[str, RefundEvent]]]
"""The price of each failed attempt, and events about their refunds in any order."""


def _events(number: int) -> st.SearchStrategy[RefundEvent]:
    return st.one_of(
        st.builds(
            Refunded, at=st.just(3.0), attempt=st.just(number), credits=AMOUNTS, entry_id=IDS
        ),
        st.builds(
            Consumed, at=st.just(3.0), attempt=st.just(number), credits=AMOUNTS, entry_id=IDS
        ),
        st.builds(
            RefundForgotten,
            at=st.just(3.0),
            attempt=st.just(number),
            credits=AMOUNTS,
            by=st.just("mia"),
        ),
    )


@st.composite
def histories(draw: st.DrawFn) -> History:
    prices = {attempt: draw(AMOUNTS) for attempt in ATTEMPTS}
    about = st.sampled_from(ATTEMPTS).flatmap(
        lambda each: st.tuples(st.just(each[0]), _events(each[1]))
    )
    return prices, draw(st.lists(about, max_size=12))


def ledger_after(
    prices: dict[tuple[str, int], Decimal], events: Sequence[tuple[str, Event]]
) -> Ledger:
    ledger = Ledger()
    for (job, number), price in prices.items():
        ledger.apply(job, held_event(price, attempt=number))
        ledger.apply(job, Accepted(at=2.0, job_id=f"{job}-{number}", credits=price, reused=False))
        ledger.apply(job, Failed(at=2.0, error=ERROR))
    for job, event in events:
        ledger.apply(job, event)
    return ledger


def about_once(events: Sequence[tuple[str, RefundEvent]]) -> list[tuple[str, RefundEvent]]:
    """Each entry once for each attempt; what a person has released is no entry."""
    first: dict[object, tuple[str, RefundEvent]] = {}
    for place, (job, event) in enumerate(events):
        entry_id = None if isinstance(event, RefundForgotten) else event.entry_id
        name = place if entry_id is None else (job, event.attempt, type(event), entry_id)
        first.setdefault(name, (job, event))
    return list(first.values())


@given(histories())
def test_a_price_is_held_spent_refunded_or_forgotten_after_any_events(history: History) -> None:
    prices, events = history
    attempts = {
        place: failed(str(price), subject=place[0], number=place[1])
        for place, price in prices.items()
    }
    for job, event in events:
        place = job, event.attempt
        attempt = attempts[place] = attempts[place].after(event)
        released = attempt.credits - attempt.refunded - attempt.spent - attempt.held
        assert min(attempt.held, attempt.spent, attempt.refunded, released) >= 0
        assert released == attempt.forgotten
        assert attempt.spent <= attempt.consumed


@given(histories())
def test_the_ledger_is_the_sum_of_its_attempts_whatever_the_order_of_the_events(
    history: History,
) -> None:
    prices, events = history
    ledger = ledger_after(prices, events)
    attempts = {
        place: failed(str(price), subject=place[0], number=place[1])
        for place, price in prices.items()
    }
    for job, event in events:
        attempts[job, event.attempt] = attempts[job, event.attempt].after(event)

    def total(name: str) -> Decimal:
        return sum((getattr(attempt, name) for attempt in attempts.values()), D(0))

    assert ledger.held == ledger.held_for_refunds == total("held") >= 0
    assert (ledger.spent, ledger.refunded) == (total("spent"), total("refunded"))
    assert ledger.committed + ledger.refunded <= sum(prices.values())
    known = {(each.subject, each.number): each.held for each in ledger.failed_attempts()}
    assert known == {place: each.held for place, each in attempts.items() if each.credits}
    assert sorted(ledger.job_ids()) == sorted(f"{job}-{number}" for job, number in known)


@given(histories())
def test_an_entry_that_is_recorded_again_changes_nothing(history: History) -> None:
    prices, events = history
    entries = [(job, event) for job, event in events if not isinstance(event, RefundForgotten)]
    once, again = ledger_after(prices, events), ledger_after(prices, [*events, *entries])
    assert (again.held, again.spent, again.refunded) == (once.held, once.spent, once.refunded)
    unique = ledger_after(prices, about_once(events))
    assert (unique.held, unique.spent, unique.refunded) == (once.held, once.spent, once.refunded)


@given(histories())
def test_the_attempts_of_a_job_have_cost_what_the_ledger_counts(history: History) -> None:
    prices, events = history
    jobs = {job: Job(job) for job, _ in prices}
    for (job, number), price in prices.items():
        attempt = Attempt(number, "k", 1.0, status=AttemptStatus.FAILED, credits=price)
        jobs[job] = replace(jobs[job], attempts=(*jobs[job].attempts, attempt))
    for subject, event in events:
        jobs[subject] = evolve(jobs[subject], event)
    ledger = ledger_after(prices, events)
    attempts = [attempt for job in jobs.values() for attempt in job.attempts]
    assert credits_paid(attempts) == ledger.spent
    assert credits_committed(attempts) == ledger.committed
    assert sum((each.refunded for each in attempts), D(0)) == ledger.refunded


def test_an_event_about_another_attempt_or_an_unknown_one_changes_nothing() -> None:
    ledger = ledger_after(
        {("fox", 1): D(2)}, [("fox", refunded("2", attempt=2)), ("owl", refunded("2"))]
    )
    assert (ledger.held, ledger.refunded) == (2, 0)


def test_an_attempt_knows_its_job_and_when_it_was_bought_and_whether_it_was_found() -> None:
    ledger = Ledger()
    ledger.apply("fox", held_event(9, attempt=3))
    ledger.apply("fox", Accepted(at=2.0, job_id="J", credits=D(2), reused=True))
    assert list(ledger.job_ids()) == ["J"]
    ledger.apply("fox", Failed(at=4.0, error=ERROR))
    assert list(ledger.failed_attempts()) == [
        FailedAttempt("fox", 3, "J", 1.0, 4.0, found=True, credits=D(2))
    ]


def test_a_job_without_an_answer_has_no_id_to_look_for() -> None:
    ledger = Ledger()
    ledger.apply("fox", held_event(9))
    assert list(ledger.job_ids()) == []


# -- entries


@each_case(
    "shown, expected",
    [
        (entry("refund"), ["Refunded 2"]),
        (entry("refund", -2), ["Refunded 2"]),
        (entry("consume", -2), ["Consumed 2"]),
        (entry("reserve"), []),
        (entry("adjustment"), []),
        (entry("adjustment", description="refund of the job"), []),
        (entry("adjustment", description="consumed by the job"), []),
        (entry("refund_fee"), []),
        (entry("refund_requested"), []),
        (entry("refund_reversal"), []),
        (entry("refund_denied", status="completed"), []),
        (entry("refund", 0), []),
        (entry("refund", status="pending"), []),
        (entry("refund", status="FAILED"), []),
        (entry("refund", status="processing"), []),
        (entry("refund", status="on_hold"), []),
        (entry("refund", status="a word that nobody knows"), []),
        (entry("consume", status="voided"), ["Consumed 2"]),
        (entry("consume", status="pending"), ["Consumed 2"]),
        (entry("consume", 0), []),
        (entry("refund", status="completed"), ["Refunded 2"]),
    ],
)
def test_an_entry_shows_a_charge_or_a_refund_by_its_kind_amount_and_status(
    shown: LedgerEntry, expected: list[str]
) -> None:
    events = refund_events(failed(), [shown], now=9.0)
    assert [f"{type(event).__name__} {event.credits}" for event in events] == expected


def test_an_entry_that_shows_nothing_hides_no_later_one() -> None:
    shown = [
        entry("refund", 0),
        entry("refund", status="pending"),
        entry("bonus"),
        entry("refund", entry_id="r"),
    ]
    assert [event.entry_id for event in refund_events(failed(), shown, now=9.0)] == ["r"]


def test_an_event_names_the_entry_and_the_attempt_and_is_of_now() -> None:
    (event,) = refund_events(failed(number=3), [entry("refund", entry_id="e7")], now=9.0)
    assert event == Refunded(at=9.0, attempt=3, credits=D(2), entry_id="e7")
    (event,) = refund_events(failed(number=3), [entry("consume", entry_id="e7")], now=9.0)
    assert event == Consumed(at=9.0, attempt=3, credits=D(2), entry_id="e7")


def test_charges_come_first_so_that_a_refund_in_the_same_reading_ends_them() -> None:
    shown = [entry("refund", entry_id="r", at=2.0), entry("consume", entry_id="c", at=1.0)]
    assert [type(event) for event in refund_events(failed(), shown, now=9.0)] == [
        Consumed,
        Refunded,
    ]


def test_charges_that_count_already_are_no_events_again() -> None:
    shown = [entry("consume", "0.5", entry_id="e"), entry("consume", "0.5", entry_id="f")]
    (first, second) = refund_events(failed(), shown, now=9.0)
    assert refund_events(failed().after(first), shown, now=9.0) == [second]
    assert refund_events(failed().after(first).after(second), shown, now=9.0) == []


def shown_in_turn(*readings: Sequence[LedgerEntry]) -> tuple[FailedAttempt, list[str]]:
    """The attempt after readings, each with what it shows beside those before, and what each has
    recorded."""
    attempt = failed()
    known: dict[str, LedgerEntry] = {}
    recorded = []
    for reading in readings:
        known |= {each.key: each for each in reading}
        events = refund_events(attempt, list(known.values()), now=9.0)
        assert len([event for event in events if isinstance(event, Refunded)]) <= 1
        for event in events:
            attempt = attempt.after(event)
        recorded += [
            f"{event.credits} by {event.entry_id}"
            for event in events
            if isinstance(event, Refunded)
        ]
        assert refund_events(attempt, list(known.values()), now=9.0) == []
    return attempt, recorded


def refund(amount: object, entry_id: str, status: str = "") -> LedgerEntry:
    return entry("refund", amount, entry_id=entry_id, status=status)


@each_case("sign", [1, -1])
@each_case(
    "readings, expected, held",
    [
        # one event for all that a reading adds, under the newest entry's key
        ([[("0.5", "e"), ("0.5", "f")]], ["1.0 by f"], "1"),
        ([[("0.5", "e")], [("0.5", "f")]], ["0.5 by e", "0.5 by f"], "1"),
        ([[("0.5", "e")], [("0.5", "f"), ("1", "g")]], ["0.5 by e", "1.5 by g"], "0"),
        # a refund and its reversal cancel out
        # binary floats: 2 - 4e-16 is 2, and a refund of less is a part
        ([[("1.9999999999999996", "e")]], ["2 by e"], "0"),
        ([[("1.4", "e"), ("0.5999999999999999", "f")]], ["2 by f"], "0"),
        ([[("1.99999999", "e")]], ["1.99999999 by e"], "0.00000001"),
        ([[("2", "e"), ("-0.00000001", "f")]], ["1.99999999 by f"], "0.00000001"),
        ([[("2", "e"), ("-2", "f")]], [], "2"),
        ([[("2", "e"), ("-0.5", "f")]], ["1.5 by f"], "0.5"),
        ([[("-2", "e"), ("2", "f"), ("2", "g")]], ["2 by g"], "0"),
        # a reversal in a later reading is held again
        ([[("1", "e")], [("-1", "f")], [("1", "g")]], ["1 by e", "-1 by f", "1 by g"], "1"),
        ([[("1", "e")], [("-1", "f")], [("2", "g")]], ["1 by e", "-1 by f", "2 by g"], "0"),
        ([[("1", "e")], [("-1", "f"), ("1", "g")]], ["1 by e"], "1"),
        # an entry that is changed
        (
            [[("2", "e")], [("1", "e")], [("2", "e")]],
            ["2 by e", "-1 by changed entry 1", "1 by changed entry 2"],
            "0",
        ),
        # also when all had come back
        ([[("2", "e")], [("-2", "f")]], ["2 by e", "-2 by f"], "2"),
        ([[("2", "e")], [("-0.5", "f")]], ["2 by e", "-0.5 by f"], "0.5"),
    ],
)
def test_what_is_refunded_is_the_sum_of_all_entries_whatever_their_sign(
    sign: int, readings: Sequence[Sequence[tuple[str, str]]], expected: list[str], held: str
) -> None:
    shown = [
        [refund(sign * D(amount), entry_id) for amount, entry_id in reading] for reading in readings
    ]
    attempt, recorded = shown_in_turn(*shown)
    assert (recorded, attempt.held) == (expected, D(held))


def test_only_booked_entries_are_in_the_sum() -> None:
    attempt, recorded = shown_in_turn(
        [
            refund("0.5", "e"),
            refund("1.5", "f", "pending"),
            entry("refund_fee", "-0.5", entry_id="g"),
        ],
        [refund("1.5", "f", "completed")],
    )
    assert (recorded, attempt.held) == (["0.5 by e", "1.5 by f"], 0)


def test_an_entry_that_counts_and_grows_counts_for_more() -> None:
    attempt, recorded = shown_in_turn([refund("0.5", "e")], [refund("2", "e")])
    assert (recorded, attempt.held) == (["0.5 by e", "1.5 by changed entry 1"], 0)


@given(
    st.lists(
        st.tuples(st.integers(-8, 8), st.sampled_from(["", "pending"]), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_what_is_refunded_in_the_end_is_what_is_booked(steps: list[tuple[int, str, bool]]) -> None:
    """In whichever readings the entries come."""
    readings: list[list[LedgerEntry]] = [[]]
    total = D(0)
    for place, (quarters, status, is_last_of_reading) in enumerate(steps):
        amount = D(quarters) / 4
        readings[-1].append(refund(amount, str(place), status))
        total += D(0) if status else amount
        if is_last_of_reading:
            readings.append([])
    attempt, _ = shown_in_turn(*readings)
    assert attempt.refunded == min(attempt.credits, abs(total))


@each_case(
    "charged_at, place, known, held, spent",
    [
        # before its refund: refunded
        (1.0, None, [], "0", "0"),
        # after it, in the same reading or a later one
        (3.0, None, [], "0", "2"),
        (3.0, None, [refunded("2", "r")], "0", "2"),
        # at the same time: in the order of their places
        (2.0, 6, [], "0", "0"),
        (2.0, 8, [], "0", "2"),
        (2.0, 8, [refunded("2", "r")], "0", "2"),
        (None, 6, [], "0", "0"),
        (None, 8, [], "0", "2"),
        # in an unknown order: nothing is released, and nothing that is spent is refunded
        (2.0, None, [], "2", "0"),
        (2.0, None, [refunded("2", "r")], "2", "0"),
        (2.0, None, [consumed("2", "c")], "0", "2"),
        (None, None, [], "2", "0"),
    ],
)
def test_a_charge_is_spent_until_a_refund_follows(
    charged_at: float | None, place: int | None, known: Sequence[RefundEvent], held: str, spent: str
) -> None:
    back = LedgerEntry("r", "refund", D(2), at=2.0, job_id="j", place=7)
    charge = LedgerEntry("c", "consume", D(-2), at=charged_at, job_id="j", place=place)
    attempt = after_entries(failed(), [back, charge], known)
    assert (attempt.held, attempt.spent) == (D(held), D(spent))
    assert refund_events(attempt, [back, charge], now=9.0) == []
    again = LedgerEntry("r2", "refund", D(2), at=4.0, job_id="j", place=9)
    if charged_at is not None:
        attempt = after_entries(attempt, [back, charge, again])
        assert (attempt.held, attempt.spent, attempt.refunded) == (0, 0, 2)


def after_entries(
    attempt: FailedAttempt, entries: Sequence[LedgerEntry], known: Sequence[RefundEvent] = ()
) -> FailedAttempt:
    for event in known:
        attempt = attempt.after(event)
    for event in refund_events(attempt, entries, now=9.0):
        attempt = attempt.after(event)
    return attempt


@each_case("place, spent, back", [(6, "0", "2"), (8, "2", "0")])
def test_an_order_that_is_known_later_decides(place: int, spent: str, back: str) -> None:
    refund, charge = (
        entry("refund", entry_id="r", at=2.0, place=7),
        entry("consume", entry_id="c", at=2.0),
    )
    unknown = after_entries(failed(), [refund, charge])
    assert (unknown.held, is_unclear([refund, charge])) == (2, True)
    known = [refund, replace(charge, place=place)]
    attempt = after_entries(unknown, known)
    assert (attempt.held, attempt.spent, attempt.refunded, is_unclear(known)) == (
        0,
        D(spent),
        D(back),
        False,
    )
    assert refund_events(attempt, known, now=9.0) == []


@each_case(
    "amounts, spent, back",
    [
        # each with its kind: "-" is a charge
        (["2", "-2", "0.5"], "1.5", "0.5"),
        (["0.5", "-2", "0.5"], "1.5", "0.5"),
        (["2", "-2", "2", "-2"], "2", "0"),
        (["-2", "2", "-1"], "1", "1"),
        (["2", "-1", "-1", "1"], "1", "1"),
    ],
)
def test_a_charge_takes_back_what_was_refunded_before_and_a_later_refund_only_its_own_part(
    amounts: Sequence[str], spent: str, back: str
) -> None:
    shown = [
        entry(
            "consume" if amount.startswith("-") else "refund",
            amount.strip("-"),
            entry_id=amount + str(at),
            at=at,
        )
        for at, amount in enumerate(amounts)
    ]
    attempt = after_entries(failed(), shown)
    assert (attempt.held, attempt.spent, attempt.refunded) == (0, D(spent), D(back))


# -- the message


def test_a_refund_that_would_have_been_seen_did_not_come_and_another_is_not_visible() -> None:
    error = missing_refunds([(failed("2"), True), (failed("3", subject="owl"), False)], str)
    assert error.code == "REFUND_MISSING"
    assert error.message == (
        "the refund of 2 credits for job fox did not come;"
        " the refund of 3 credits for job owl is not visible in the gateway's ledger"
    )
    assert error.hint is not None
    assert "a person can release those that are not visible" in error.hint


def test_the_message_has_the_amount_that_is_held_and_at_most_ten_names() -> None:
    attempts = [(failed(subject=name), True) for name in "abcdefghijkl"]
    attempts += [(failed(subject="a", number=2).after(refunded("0.5", attempt=2)), True)]
    message = missing_refunds(attempts, lambda identity: f"job-{identity}").message
    ten = ", ".join(f"job-{name}" for name in "abcdefghij")
    assert message == f"the refund of 25.5 credits for jobs {ten} and 2 more did not come"
    message = missing_refunds(attempts[:11], str).message
    assert (
        message
        == "the refund of 22 credits for jobs a, b, c, d, e, f, g, h, i, j and 1 more did not come"
    )
    message = missing_refunds(attempts[:10], str).message
    assert message == "the refund of 20 credits for jobs a, b, c, d, e, f, g, h, i, j did not come"


@each_case("kind", ["refund_reversal", "clawback", "debit", "job charge", "reserve"])
def test_what_takes_a_refund_back_counts_against_it(kind: str) -> None:
    """A further reservation does too; the first is that of the purchase."""
    shown = [entry("reserve", entry_id="a"), entry("refund", entry_id="b")]
    assert [event.credits for event in refund_events(failed(), shown, now=9.0)] == [2]
    assert refund_events(failed(), [*shown, entry(kind, -2, entry_id="c")], now=9.0) == []
    assert [
        event.credits
        for event in refund_events(failed(), [*shown, entry(kind, 1, entry_id="c")], now=9.0)
    ] == [1]


def test_a_price_that_was_reserved_in_two_entries_is_refunded_whole() -> None:
    refund = entry("refund", entry_id="c", at=2.0)
    shown = [entry("reserve", -1, entry_id=name, at=2.0) for name in ("a", "b")]
    assert [event.credits for event in refund_events(failed(), [*shown, refund], now=9.0)] == [1]
    assert (is_unclear([*shown, refund]), is_unclear([shown[0], refund])) == (True, False)
    shown = [replace(each, at=1.0) for each in shown]
    assert [event.credits for event in refund_events(failed(), [*shown, refund], now=9.0)] == [2]


@each_case("kind", ["debit", "job charge", "reserve"])
def test_what_is_older_than_the_first_refund_takes_nothing_back(kind: str) -> None:
    """It is that of the purchase, by whatever word."""
    for at, expected in (
        (1.0, [2]),
        (2.0, [2] if kind == "reserve" else []),
        (3.0, [2] if kind == "reserve" else []),
    ):
        shown = [entry(kind, -2, entry_id="a", at=at), entry("refund", entry_id="b", at=2.0)]
        assert [event.credits for event in refund_events(failed(), shown, now=9.0)] == expected


def test_a_charge_with_two_words_counts_once() -> None:
    shown = [
        entry("refund", 2, entry_id="a", at=1.0),
        entry("consumed charge", 1, entry_id="b", at=2.0),
    ]
    attempt = after_entries(failed(), shown)
    assert (attempt.spent, attempt.refunded) == (1, 1)
    attempt = after_entries(failed(), [*shown, entry("consume", 1, entry_id="c", at=3.0)])
    assert (attempt.spent, attempt.refunded) == (2, 0)
