"""Admission: each line of the truth table at the head of ``core/budget.py``, and the cap in any market."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.answers import ErrorInfo
from crucible_batch.core.budget import Admit, Block, Decision, Request, Situation, Wait, decide, job_need, outgrown
from crucible_batch.core.events import Accepted, Failed, Held, Succeeded
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import UPLOAD_CLASS, PriceBook

W = "workflow:w"
D = Decimal


def ledger(
    *,
    known: str | None = None,
    upload: str | None = None,
    ceiling: str | None = None,
    held: str = "0",
    price_class: str = W,
    doubt: str = "0",
) -> Ledger:
    books = Ledger(PriceBook(None if ceiling is None else D(ceiling)))
    if known is not None:
        books.prices.learn(price_class, D(known), bought=True)
    if upload is not None:
        books.prices.learn(UPLOAD_CLASS, D(upload), bought=True)
    if D(held):
        books.apply("other", Held(at=0.0, attempt=1, key="k", credits=D(held), price_class="workflow:other"))
    if D(doubt):
        books.apply("doubt", Held(at=0.0, attempt=1, key="d", credits=D(doubt), price_class=price_class))
    return books


ALONE, BUSY = Situation(others_at_work=False), Situation(others_at_work=True)


def account(left: str, *, busy: bool = False, closed: bool = False) -> Situation:
    return Situation(others_at_work=busy, account_left=D(left), account_closed=closed)


def verdict(decision: Decision) -> str:
    match decision:
        case Admit(credits=credits, canary_for=canary):
            return f"admit {credits}{' canary' if canary else ''}"
        case Wait():
            return "wait"
        case Block(error=error):
            return error.code


ROWS: list[tuple[str, Request, Ledger, str | None, Situation, str]] = [
    ("fits, account unknown", Request(W), ledger(known="2"), "10", ALONE, "admit 2"),
    ("fits exactly", Request(W), ledger(known="2", held="8"), "10", ALONE, "admit 2"),
    ("fits, account fits", Request(W), ledger(known="2"), "10", account("2"), "admit 2"),
    ("fits, account short, one alone", Request(W), ledger(known="2"), "10", account("1"), "admit 2"),
    ("fits, account short, others at work", Request(W), ledger(known="2"), "10", account("1", busy=True), "wait"),
    (
        "fits, account short, uploads",
        Request(W, 1),
        ledger(known="2", upload="1"),
        "10",
        account("1"),
        "INSUFFICIENT_CREDITS",
    ),
    ("402 came, alone", Request(W), ledger(known="2"), "10", account("9", closed=True), "INSUFFICIENT_CREDITS"),
    ("402 came, others at work", Request(W), ledger(known="2"), "10", account("9", busy=True, closed=True), "wait"),
    ("doesn't fit, others at work", Request(W), ledger(known="2", held="9"), "10", BUSY, "wait"),
    ("doesn't fit, alone", Request(W), ledger(known="2", held="9"), "10", ALONE, "BUDGET_EXHAUSTED"),
    ("above the ceiling", Request(W), ledger(known="5", ceiling="4"), "10", ALONE, "PRICE_ABOVE_CEILING"),
    ("canary out", Request(W), ledger(), "10", Situation(True, frozenset({W})), "wait"),
    ("another class's canary out", Request(W), ledger(known="2"), "10", Situation(True, frozenset({"v"})), "admit 2"),
    ("unknown, no ceiling: all that is left", Request(W), ledger(held="3"), "10", BUSY, "admit 7 canary"),
    ("unknown, account has less than is left", Request(W), ledger(), "10", account("6"), "admit 10 canary"),
    ("unknown, ceiling", Request(W), ledger(ceiling="4"), "10", ALONE, "admit 4 canary"),
    ("unknown, ceiling beyond what is left", Request(W), ledger(ceiling="4"), "3", ALONE, "BUDGET_EXHAUSTED"),
    ("unknown, one of it in doubt, others at work", Request(W), ledger(doubt="3"), "10", BUSY, "wait"),
    ("unknown, one of it in doubt, alone", Request(W), ledger(doubt="3"), "10", ALONE, "BUDGET_EXHAUSTED"),
    ("unknown, one of another class in doubt", Request("workflow:v"), ledger(doubt="3"), "10", ALONE, "admit 7 canary"),
    (
        "unknown, one of it in doubt, a ceiling",
        Request(W),
        ledger(ceiling="4", doubt="4"),
        "10",
        BUSY,
        "admit 4 canary",
    ),
    ("known, one of it in doubt", Request(W), ledger(known="2", doubt="3"), "10", BUSY, "admit 2"),
    ("unknown, one of it in doubt, no budget", Request(W), ledger(doubt="3"), None, account("6"), "admit 6 canary"),
    ("unknown, nothing left", Request(W), ledger(held="10"), "10", ALONE, "BUDGET_EXHAUSTED"),
    ("job known, upload unknown: all", Request(W, 2), ledger(known="2"), "10", ALONE, "admit 10 canary"),
    ("job known, upload unknown, no room for it", Request(W, 1), ledger(known="2"), "2", ALONE, "BUDGET_EXHAUSTED"),
    ("job and uploads known", Request(W, 2), ledger(known="2", upload="0.5"), "10", ALONE, "admit 3.0"),
    ("no budget, known", Request(W), ledger(known="2"), None, ALONE, "admit 2"),
    ("unknown, account short, one alone", Request(W), ledger(), "10", account("0"), "admit 10 canary"),
    ("no budget, nothing known of the account either", Request(W), ledger(), None, ALONE, "admit 0 canary"),
    ("a ceiling is none of uploads", Request(W, 1), ledger(known="2", ceiling="4"), "10", ALONE, "admit 10 canary"),
    ("no budget, unknown: what the account has", Request(W), ledger(), None, account("6"), "admit 6 canary"),
]


@pytest.mark.parametrize(
    ("name", "request_", "books", "budget", "situation", "expected"), ROWS, ids=[row[0] for row in ROWS]
)
def test_a_row_of_the_table(
    name: str, request_: Request, books: Ledger, budget: str | None, situation: Situation, expected: str
) -> None:
    assert verdict(decide(request_, books, None if budget is None else D(budget), situation)) == expected


def test_a_price_of_an_earlier_run_is_a_lower_bound_only() -> None:
    books = ledger(known="2")
    books.prices.close_run()
    assert verdict(decide(Request(W), books, D(10), ALONE)) == "admit 10 canary"
    assert verdict(decide(Request(W), books, D("1.5"), ALONE)) == "BUDGET_EXHAUSTED"


@pytest.mark.parametrize(
    ("ceiling", "budget", "expected"),
    [
        ("4", "10", "admit 4 canary"),
        ("4", "3", "admit 3 canary"),
        ("4", "2", "admit 2 canary"),
        ("4", "1.9", "BUDGET_EXHAUSTED"),
        ("2", "10", "admit 2 canary"),
        ("1", "10", "PRICE_ABOVE_CEILING"),
    ],
)
def test_what_an_earlier_run_paid_is_enough_to_begin_with_below_the_ceiling(
    ceiling: str, budget: str, expected: str
) -> None:
    books = ledger(known="2", ceiling=ceiling)
    books.prices.close_run()
    assert verdict(decide(Request(W), books, D(budget), ALONE)) == expected


def test_what_the_account_has_now_is_no_bound_of_what_a_job_in_doubt_may_be_charged_later() -> None:
    books = ledger(known="2", ceiling="4")
    books.prices.close_run()
    assert verdict(decide(Request(W), books, D(10), account("3"))) == "admit 4 canary"


def test_uploads_are_held_on_top_of_what_a_price_may_have_risen_to() -> None:
    books = ledger(known="2", ceiling="4")
    books.prices.close_run()
    books.prices.learn(UPLOAD_CLASS, D("0.5"), bought=True)
    assert verdict(decide(Request(W, 2), books, D(10), ALONE)) == "admit 5.0 canary"


RAISE = "raise the budget and run the same command again: what is done is not paid again"
AGAIN = "what is held is for answers that never came: run the same command again, or raise the budget"
CEILING = "raise budget.max_credits_per_job if that is what you want to pay, and run the same command again"
DOUBT = (
    "run the same command again, if need be with --resubmit-unknown; or bound the price with budget.max_credits_per_job"
)
TOP_UP = "top the account up and run the same command again: what is done is not paid again"


@pytest.mark.parametrize(
    ("request_", "books", "budget", "situation", "message", "hint"),
    [
        (
            Request("workflow:v:2"),
            ledger(known="5", ceiling="4", price_class="workflow:v:2"),
            "10",
            ALONE,
            "a job on v:2 costs 5 credits, above max_credits_per_job 4",
            CEILING,
        ),
        (
            Request(W),
            ledger(known="2.50", held="9"),
            "10.0",
            ALONE,
            "the next job needs 2.5 credits; of the budget of 10, 0 are spent and 9 held",
            AGAIN,
        ),
        (
            Request("workflow:v:2"),
            ledger(doubt="1", price_class="workflow:v:2"),
            "10",
            ALONE,
            "nobody knows what a job on v:2 costs, and one that was sent is still without an answer",
            DOUBT,
        ),
        (
            Request(W, 1),
            ledger(known="2"),
            "2",
            ALONE,
            "the next job needs more than 2 credits; of the budget of 2, 0 are spent and 0 held",
            RAISE,
        ),
        (
            Request(W, 1),
            ledger(known="2", upload="1"),
            None,
            account("1.5"),
            "the account has 1.5 credits available and the next job needs 3",
            TOP_UP,
        ),
        (
            Request(W),
            ledger(known="2"),
            None,
            account("-3", closed=True),
            "the account has 0 credits available and the next job needs 2",
            TOP_UP,
        ),
        (
            Request(W),
            ledger(known="2"),
            None,
            Situation(others_at_work=False, account_closed=True),
            "the account has no more credits available and the next job needs 2",
            TOP_UP,
        ),
    ],
)
def test_a_job_that_is_blocked_says_the_amounts_and_what_helps(
    request_: Request, books: Ledger, budget: str | None, situation: Situation, message: str, hint: str
) -> None:
    decision = decide(request_, books, None if budget is None else D(budget), situation)
    assert isinstance(decision, Block)
    assert (decision.error.message, decision.error.hint) == (message, hint)


@pytest.mark.parametrize(("known", "hold", "price"), [("2", "2", None), ("9", "2", "9"), ("2", "9", None)])
def test_a_hold_is_outgrown_by_a_price_that_this_run_saw(known: str, hold: str, price: str | None) -> None:
    books = ledger(known=known)
    assert outgrown(books, W, D(hold)) == (None if price is None else D(price))
    books.prices.close_run()
    assert outgrown(books, W, D(hold)) is None  # what a canary is for


@pytest.mark.parametrize(
    ("books", "bundle", "need"),
    [
        (ledger(known="2"), "9.5", "2"),
        (ledger(known="2"), "1.5", None),
        (ledger(ceiling="4"), "9.5", "4"),
        (ledger(), "9.5", "9.5"),
        (ledger(), "0", None),
    ],
)
def test_what_stays_held_for_the_job_once_its_images_are_paid(books: Ledger, bundle: str, need: str | None) -> None:
    assert job_need(books, W, D(bundle)) == (None if need is None else D(need))


@given(
    budget=st.decimals(1, 40, places=1),
    ceiling=st.none() | st.decimals(1, 9, places=1),
    prices=st.lists(st.decimals("0.1", 9, places=1), min_size=1, max_size=3),
    wanted=st.lists(st.integers(0, 2), max_size=25),
    fates=st.lists(st.sampled_from(["succeed", "fail", "run"]), min_size=25, max_size=25),
)
def test_steady_prices_never_exceed_the_budget_but_for_a_first_one(
    budget: Decimal, ceiling: Decimal | None, prices: list[Decimal], wanted: list[int], fates: list[str]
) -> None:
    """Nobody knows the prices: spent + held <= budget at each moment, but for a first price beyond its hold."""
    books = Ledger(PriceBook(ceiling))
    surprise = Decimal(0)
    running: list[str] = []
    for number, (kind, fate) in enumerate(zip(wanted, fates, strict=False)):
        name, price_class, price = f"job-{number}", f"workflow:{kind}", prices[kind % len(prices)]
        decision = decide(Request(price_class), books, budget, Situation(others_at_work=bool(running)))
        assert not (isinstance(decision, Wait) and not running), "waiting for nobody"
        if not isinstance(decision, Admit):
            if running:
                books.apply(running.pop(), Succeeded(at=0.0, outputs=1))
            continue
        books.apply(name, Held(at=0.0, attempt=1, key="k", credits=decision.credits, price_class=price_class))
        assert books.committed <= budget + surprise
        surprise += max(Decimal(0), price - decision.credits)
        books.apply(name, Accepted(at=0.0, job_id="j", credits=price, reused=False))
        assert books.committed <= budget + surprise
        match fate:
            case "succeed":
                books.apply(name, Succeeded(at=0.0, outputs=1))
            case "fail":
                books.apply(name, Failed(at=0.0, error=ErrorInfo("X", "x")))
            case _:
                running.append(name)
    if ceiling is not None and all(price <= ceiling for price in prices):
        assert surprise == 0
