"""Admission: each line of the tables at the head of ``core/budget.py``, and the words in which a
job is blocked.
"""

from __future__ import annotations

from decimal import Decimal

from crucible_batch.core.account_shortage import CHECK_IT
from crucible_batch.core.budget import (
    AdmissionState,
    Admit,
    Block,
    Decision,
    HoldRequest,
    SlowStart,
    Wait,
    budget_for,
    decide_admission,
    hold_for_submit,
    hold_is_too_small,
    may_resend,
    raised_budget,
    repricing_error,
)
from crucible_batch.core.events import (
    Created,
    Event,
    Failed,
    Lost,
    Succeeded,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import UPLOAD, PriceBook, Shape
from tests.harness.case_table import each_case
from tests.harness.job_events import accepted_event, held_event, intended_event
from tests.harness.replacing import replace

W = Shape("workflow:w", "small")
D = Decimal


def amount(text: str | None) -> Decimal | None:
    return None if text is None else D(text)


def ledger(
    *,
    seen: str | None = None,
    upload: str | None = None,
    ceiling: str | None = None,
    upload_ceiling: str | None = None,
    held: str = "0",
    refunds: str = "0",
    shape: Shape = W,
) -> Ledger:
    """Return books in which prices were seen, ``held`` is held for another job, and ``refunds`` for
    that of a third."""
    books = Ledger(PriceBook(amount(ceiling), amount(upload_ceiling)))
    if seen is not None:
        books.prices.learn(shape, D(seen))
    if upload is not None:
        books.prices.learn(UPLOAD, D(upload))
    if D(held):
        books.apply("other", held_event(held, price_class="workflow:other"))
    if D(refunds):
        books.apply(
            "failed",
            held_event(refunds, price_class="workflow:other"),
        )
        books.apply("failed", accepted_event(refunds))
        books.apply("failed", Failed(at=0.0, error=ErrorInfo("X", "x")))
    return books


AGAIN = "raise the budget and run the same command again; completed jobs are not paid for again"
JOB = HoldRequest(W)
WITH_IMAGE = HoldRequest(W, 1)
WITH_TWO = HoldRequest(W, 2)
RESENT = HoldRequest(W, held=D(9))
IDLE = AdmissionState(others_active=False)
BUSY = AdmissionState(others_active=True)
OTHERS = AdmissionState(others_active=True, unanswered=1, limit=8)
ONE_ALONE = AdmissionState(others_active=True, unanswered=1, limit=8, is_one_alone=True)
DOUBT = AdmissionState(others_active=False, alone_in_doubt=True)
BUSY_DOUBT = AdmissionState(others_active=True, alone_in_doubt=True)


def account(left: str, *, busy: bool = False, closed: bool = False) -> AdmissionState:
    return AdmissionState(others_active=busy, account_left=D(left), account_closed=closed)


def beside(
    awaited: str = "0",
    uncounted: str = "0",
    *,
    busy: bool = False,
    unanswered: int = 0,
    doubt: bool = False,
) -> AdmissionState:
    """The state while credits are held for refunds."""
    return AdmissionState(
        others_active=busy,
        unanswered=unanswered,
        limit=8,
        alone_in_doubt=doubt,
        awaited=D(awaited),
        uncounted=D(uncounted),
    )


def verdict(decision: Decision) -> str:
    match decision:
        case Admit(credits=credits, alone=alone):
            return f"{'alone' if alone else 'admit'} {credits}"
        case Wait():
            return "wait"
        case Block(error=error):
            return error.code


FAILED_JOB = ledger(seen="2", refunds="4")

ROWS: list[tuple[str, HoldRequest, Ledger, str | None, AdmissionState, str]] = [
    # the bound
    ("sixteen times the price fits", JOB, ledger(seen="2"), "32", IDLE, "admit 32"),
    ("a ceiling is the bound", JOB, ledger(seen="2", ceiling="4"), "10", IDLE, "admit 4"),
    ("a ceiling without any price seen", JOB, ledger(ceiling="4"), "4", IDLE, "admit 4"),
    ("what is held by others counts", JOB, ledger(ceiling="4", held="7"), "10", BUSY, "wait"),
    (
        "what records may add counts",
        JOB,
        ledger(ceiling="4"),
        "10",
        AdmissionState(True, unread=D(7)),
        "wait",
    ),
    ("a bound that fits needn't be alone", JOB, ledger(seen="2"), "40", OTHERS, "admit 32"),
    ("job and uploads, both bounds", WITH_TWO, ledger(seen="2", upload="0.5"), "50", IDLE,
     "admit 48.0"),
    ("both ceilings", WITH_TWO, ledger(ceiling="4", upload_ceiling="1"), "6", IDLE, "admit 6"),
    # the slow start
    ("as many unanswered as allowed", JOB, ledger(seen="2"), "99", AdmissionState(True, 2, 2),
     "wait"),
    ("fewer than allowed", JOB, ledger(seen="2"), "99", AdmissionState(True, 1, 2), "admit 32"),
    ("allowed, no budget", JOB, ledger(seen="2"), None, AdmissionState(True, 1, 2), "admit 2"),
    ("too many, no budget", JOB, ledger(seen="2"), None, AdmissionState(True, 2, 2), "wait"),
    # alone
    ("no price seen: all that is left", JOB, ledger(held="3"), "10", BUSY, "alone 7"),
    ("a price of 0 bounds nothing", JOB, ledger(seen="0"), "10", IDLE, "alone 10"),
    ("a price of 0 fits where nothing is left", JOB, ledger(seen="0", held="10"), "10", IDLE,
     "alone 0"),
    ("no price seen, nothing left", JOB, ledger(held="10"), "10", IDLE, "BUDGET_EXHAUSTED"),
    ("bound doesn't fit, price does", JOB, ledger(seen="2"), "31", IDLE, "alone 31"),
    ("bound doesn't fit, price does exactly", JOB, ledger(seen="2"), "2", IDLE, "alone 2"),
    ("price doesn't fit, others at work", JOB, ledger(seen="2", held="9"), "10", BUSY, "wait"),
    ("price doesn't fit, none at work", JOB, ledger(seen="2", held="9"), "10", IDLE,
     "BUDGET_EXHAUSTED"),
    ("alone waits for those unanswered", JOB, ledger(seen="2"), "31", OTHERS, "wait"),
    ("nobody goes beside one that is alone", JOB, ledger(seen="2"), "99", ONE_ALONE, "wait"),
    ("nobody goes beside it, no budget either", JOB, ledger(seen="2"), None, ONE_ALONE, "wait"),
    ("a second without a bound while one is in doubt", JOB, ledger(), "9", DOUBT,
     "BUDGET_EXHAUSTED"),
    ("the same, others at work", JOB, ledger(), "9", BUSY_DOUBT, "wait"),
    ("one with a bound while one is in doubt", JOB, ledger(seen="2"), "32", DOUBT, "admit 32"),
    ("upload's price unknown: all", WITH_IMAGE, ledger(seen="2"), "99", IDLE, "alone 99"),
    ("upload's price unknown, no room for it", WITH_IMAGE, ledger(seen="2"), "2", IDLE,
     "BUDGET_EXHAUSTED"),
    ("a job's ceiling bounds no upload", WITH_IMAGE, ledger(ceiling="4"), "99", IDLE, "alone 99"),
    ("an upload's ceiling bounds no job", WITH_IMAGE, ledger(upload_ceiling="4"), "99", IDLE,
     "alone 99"),
    # a declared ceiling is never replaced by an expected price
    ("ceiling doesn't fit, price would", JOB, ledger(seen="2", ceiling="4"), "3", IDLE,
     "BUDGET_EXHAUSTED"),
    ("ceiling doesn't fit, others at work", JOB, ledger(seen="2", ceiling="4"), "3", BUSY, "wait"),
    (
        "an upload's ceiling doesn't fit",
        WITH_IMAGE,
        ledger(seen="2", upload="0.5", ceiling="2", upload_ceiling="1"),
        "2.5",
        IDLE,
        "BUDGET_EXHAUSTED",
    ),
    ("price above the ceiling", JOB, ledger(seen="5", ceiling="4"), "10", IDLE,
     "PRICE_ABOVE_CEILING"),
    ("price at the ceiling", JOB, ledger(seen="4", ceiling="4"), "10", IDLE, "admit 4"),
    ("above it, no budget", JOB, ledger(seen="5", ceiling="4"), None, IDLE, "PRICE_ABOVE_CEILING"),
    (
        "an upload above its ceiling",
        WITH_IMAGE,
        ledger(upload="2", upload_ceiling="1"),
        "99",
        IDLE,
        "PRICE_ABOVE_CEILING",
    ),
    ("the same, without an upload", JOB, ledger(upload="2", upload_ceiling="1"), "99", IDLE,
     "alone 99"),
    # a submit in doubt that is sent again: what it holds is its own
    ("in doubt, its own hold counts", RESENT, ledger(seen="2", held="9"), "32", IDLE, "admit 32"),
    ("in doubt, only the price fits", RESENT, ledger(seen="2", held="9"), "10", IDLE, "alone 10"),
    ("in doubt, too dear now", RESENT, ledger(seen="20", held="9"), "10", IDLE, "BUDGET_EXHAUSTED"),
    # beside the credits that are held for refunds
    ("bound fits beside them", JOB, FAILED_JOB, "36", beside("4"), "admit 32"),
    ("price fits beside them", JOB, FAILED_JOB, "6", beside("4"), "alone 2"),
    ("refund awaited, others at work", JOB, FAILED_JOB, "5", beside("4", busy=True), "wait"),
    ("refund awaited", JOB, FAILED_JOB, "5", beside("4"), "wait"),
    ("part of the refunds awaited", JOB, FAILED_JOB, "5", beside("1"), "wait"),
    ("too small a part awaited", JOB, FAILED_JOB, "5", beside("0.5"), "REFUND_MISSING"),
    ("no refund awaited any more", JOB, FAILED_JOB, "5", beside(), "REFUND_MISSING"),
    ("the same, others at work", JOB, FAILED_JOB, "5", beside(busy=True), "wait"),
    ("no refund is enough", JOB, FAILED_JOB, "1", beside("4"), "BUDGET_EXHAUSTED"),
    ("its own hold counts as well", HoldRequest(W, held=D(1)), FAILED_JOB, "4", beside("1"),
     "wait"),
    ("what records may add counts", JOB, FAILED_JOB, "5",
     AdmissionState(False, unread=D(5), awaited=D(4)), "BUDGET_EXHAUSTED"),
    ("uncounted: one alone", JOB, FAILED_JOB, "5", beside("4", "4"), "alone 5"),
    ("uncounted, others at work", JOB, FAILED_JOB, "5", beside("4", "4", busy=True), "alone 5"),
    ("uncounted in part", JOB, FAILED_JOB, "5", beside("4", "1"), "alone 2"),
    ("uncounted, too small", JOB, FAILED_JOB, "5", beside("0", "0.5"), "REFUND_MISSING"),
    ("uncounted, one unanswered", JOB, FAILED_JOB, "5",
     beside("4", "4", busy=True, unanswered=1), "wait"),
    ("uncounted, one in doubt", JOB, FAILED_JOB, "5", beside("0", "4", doubt=True),
     "REFUND_MISSING"),
    ("uncounted, with an upload", WITH_IMAGE, ledger(seen="2", upload="1", refunds="4"), "5",
     beside("0", "4"),
     "REFUND_MISSING"),
    ("uncounted, account too small", JOB, FAILED_JOB, "5",
     AdmissionState(True, uncounted=D(4), account_left=D(1)), "wait"),
    ("uncounted, account too small, one goes", JOB, FAILED_JOB, "5",
     AdmissionState(False, uncounted=D(4), account_left=D(1)), "alone 5"),
    ("uncounted, after a 402", JOB, FAILED_JOB, "5",
     AdmissionState(False, uncounted=D(4), account_closed=True), "INSUFFICIENT_CREDITS"),
    # the account: by the expected price, not by the bound
    ("account fits", JOB, ledger(seen="2"), "32", account("2"), "admit 32"),
    ("account fits, below the ceiling", JOB, ledger(seen="2", ceiling="4"), "9", account("3"),
     "admit 4"),
    ("account short, one goes", JOB, ledger(seen="2"), "32", account("1"), "admit 32"),
    ("account short, others at work", JOB, ledger(seen="2"), "32", account("1", busy=True), "wait"),
    (
        "account short, with uploads",
        WITH_IMAGE,
        ledger(seen="2", upload="1"),
        "99",
        account("2"),
        "INSUFFICIENT_CREDITS",
    ),
    ("402 came", JOB, ledger(seen="2"), "32", account("9", closed=True), "INSUFFICIENT_CREDITS"),
    ("402 came, others at work", JOB, ledger(seen="2"), "32", account("9", busy=True, closed=True),
     "wait"),
    ("no budget: the expected price is held", JOB, ledger(seen="2"), None, IDLE, "admit 2"),
    ("no budget, no price", JOB, ledger(), None, IDLE, "admit 0"),
    ("account short, alone", JOB, ledger(seen="2"), "31", account("1"), "alone 31"),
    ("account short, no budget", JOB, ledger(seen="2"), None, account("1"), "admit 2"),
    (
        "account shorter than the ceiling, no price seen",
        JOB,
        ledger(ceiling="4"),
        "9",
        account("3", busy=True),
        "wait",
    ),
    (
        "account short by the second upload",
        WITH_TWO,
        ledger(seen="2", upload="1"),
        "99",
        account("3"),
        "INSUFFICIENT_CREDITS",
    ),
    ("price doesn't fit by the second upload", WITH_TWO, ledger(seen="2", upload="1"), "3", BUSY,
     "wait"),
    ("no budget, account empty", JOB, ledger(), None, account("0", busy=True), "wait"),
]  # fmt: skip


@each_case("line, request_, books, budget, situation, expected", ROWS)
def test_each_line_of_the_tables(
    line: str,
    request_: HoldRequest,
    books: Ledger,
    budget: str | None,
    situation: AdmissionState,
    expected: str,
) -> None:
    assert verdict(decide_admission(request_, books, amount(budget), situation)) == expected, line


def test_the_slow_start_allows_twice_those_as_expected_and_restarts_at_a_surprise() -> None:
    start = SlowStart()
    assert start.limit == 1
    start = start.after(None, D(2))  # nothing was expected, so nothing is a surprise
    start = start.after(D(2), D(2)).after(D(2), D(1))
    assert (start.answered, start.limit) == (3, 6)
    assert start.after(D(2), D("2.01")) == SlowStart()


@each_case(
    "books, bundle, alone, expected",
    [
        (ledger(seen="2"), "40", False, "32"),
        (ledger(seen="2"), "32", False, "32"),
        (ledger(seen="2"), "31", False, None),  # its images cost more than was known
        (ledger(seen="2"), "31", True, "31"),
        (ledger(seen="2"), "40", True, "32"),
        (ledger(seen="2"), "1.9", True, None),
        (ledger(), "5", True, "5"),
        (ledger(), "0", True, None),
        (ledger(seen="2", ceiling="4"), "3", True, None),
        (ledger(seen="2", ceiling="4"), "9", False, "4"),
    ],
)
def test_once_its_images_are_paid_a_job_keeps_its_bound_or_all_that_is_left_if_it_is_alone(
    books: Ledger, bundle: str, alone: bool, expected: str | None
) -> None:
    assert hold_for_submit(books.prices, W, D(bundle), alone=alone) == amount(expected)


@each_case(
    "books, hold, alone, is_outgrown",
    [
        (ledger(seen="2"), "32", False, False),
        (ledger(seen="2.1"), "32", False, True),  # its bound has risen to 33.6
        (ledger(seen="9"), "9", True, False),
        (ledger(seen="9"), "8", True, True),
        (ledger(seen="9", ceiling="4"), "4", False, False),
        (ledger(), "5", True, False),
        (ledger(seen="2", held="40"), "32", False, False),
        (
            ledger(seen="2", held="41"),
            "32",
            False,
            True,
        ),  # another job cost more than was held for it
    ],
)
def test_right_before_a_submit_its_hold_is_compared_with_what_was_seen_since(
    books: Ledger, hold: str, alone: bool, is_outgrown: bool
) -> None:
    assert hold_is_too_small(books, D(40), W, D(hold), alone=alone) is is_outgrown


@each_case(
    "seen, hold, others, alone, is_sent",
    [
        ("1", "16", "24", False, True),
        ("1", "15", "24", False, False),  # a price of 1 may become 16
        ("1", "32", "24", False, True),  # 16 is left for it, though 56 is committed
        ("1", "32", "25", False, False),
        (None, "32", "24", False, False),  # nothing bounds it
        (None, "32", "24", True, True),
        (None, "32", "40", True, False),
        ("5", "32", "35", True, True),
        ("5", "32", "36", True, False),
    ],
)
def test_a_submit_in_doubt_is_sent_on_what_its_hold_and_the_budget_still_cover(
    seen: str | None, hold: str, others: str, alone: bool, is_sent: bool
) -> None:
    books = ledger(seen=seen, held=others)
    books.set_hold("job", D(hold), alone=alone)
    assert may_resend(books, D(40), W, D(hold), alone=alone) is is_sent


@each_case("uncounted, is_enough", [("0", False), ("3.5", False), ("4", True), ("9", True)])
def test_what_is_uncounted_makes_room_for_the_submit_that_was_granted_without_it(
    uncounted: str, is_enough: bool
) -> None:
    books = ledger(seen="2", refunds="4")
    books.set_hold("job", D(5), alone=True)
    assert (
        hold_is_too_small(books, D(5), W, D(5), alone=True, uncounted=D(uncounted)) is not is_enough
    )
    assert may_resend(books, D(2), W, D(5), alone=True, uncounted=D(uncounted)) is is_enough


@each_case(
    "ceiling, answered, recorded, code",
    [
        ("7", "1", "7", None),
        ("7", "1", "7.5", "PRICE_ABOVE_CEILING"),
        (None, "1", "16", None),
        (None, "1", "16.5", "PRICE_ROSE"),
        (None, "2", "32", None),
        (None, "2", "33", "PRICE_ROSE"),
        (None, "0", "7", None),  # nothing was bounded
    ],
)
def test_a_record_beyond_what_bounds_a_price_ends_all_buying(
    ceiling: str | None, answered: str, recorded: str, code: str | None
) -> None:
    error = repricing_error(W, D(answered), D(recorded), PriceBook(amount(ceiling)))
    assert (error and error.code) == code


def test_a_record_as_high_as_an_earlier_one_is_no_news_whatever_is_answered() -> None:
    assert repricing_error(W, D(1), D(17), ledger(seen="17").prices) is None


@each_case("recorded, ends", [("14", False), ("32", False), ("33", True)])
def test_a_record_within_the_bound_that_its_submit_went_on_ends_nothing(
    recorded: str, ends: bool
) -> None:
    assert (
        repricing_error(W, D(1), D(recorded), PriceBook(), seen_before=D(2)) is not None
    ) is ends


def test_a_record_far_above_its_answer_names_both_and_what_to_do() -> None:
    error = repricing_error(W, D(2), D(33), PriceBook())
    assert error is not None
    assert (
        error.message
        == "a job on w costs 33 credits by its record, but cost 2 by the answer to its submit"
    )
    assert error.hint == (
        "compare both with the gateway's ledger (crucible-batch check), "
        "and set budget.max_credits_per_job"
    )


def test_one_that_was_admitted_alone_is_known_as_such_until_it_is_answered() -> None:
    books = ledger()
    books.apply("a", held_event(9, price_class=W.price_class, alone=True))
    assert set(books.alone) == {"a"}
    books.apply("a", accepted_event(2))
    assert not books.alone


HINT = "and run the same command again"


@each_case(
    "request_, books, budget, message, hint",
    [
        (
            JOB,
            ledger(seen="5", ceiling="4"),
            "10",
            "a job on w costs 5 credits, above max_credits_per_job (4)",
            f"raise budget.max_credits_per_job if the price is acceptable, {HINT}",
        ),
        (
            WITH_IMAGE,
            ledger(upload="5", upload_ceiling="4"),
            "10",
            "an upload costs 5 credits, above max_credits_per_upload (4)",
            f"raise budget.max_credits_per_upload if the price is acceptable, {HINT}",
        ),
        (
            JOB,
            ledger(seen="2", held="9"),
            "10",
            "9 of 10 credits used (9 of them held); the next job needs 2",
            (
                "credits are held for unanswered requests: "
                "run the same command again (if a job was changed or removed since then, "
                "restore it in the manifest first), or raise the budget"
            ),
        ),
        (
            WITH_IMAGE,
            ledger(seen="2"),
            "2",
            "0 of 2 credits used; the next job needs more than 2",
            AGAIN,
        ),
        (
            JOB,
            ledger(seen="2", ceiling="4"),
            "3",
            "0 of 3 credits used; the next job may cost up to 4, its declared ceiling",
            f"raise the budget, or lower budget.max_credits_per_job, {HINT}",
        ),
        (
            JOB,
            ledger(ceiling="50"),
            "20",
            "0 of 20 credits used; the next job may cost up to 50, its declared ceiling",
            f"raise the budget, or lower budget.max_credits_per_job, {HINT}",
        ),
        (
            WITH_TWO,
            ledger(ceiling="4", upload_ceiling="3"),
            "9",
            (
                "0 of 9 credits used; the next job may cost up to 10 with its uploads, "
                "by the declared ceilings"
            ),
            (
                "raise the budget, or lower budget.max_credits_per_job "
                f"or budget.max_credits_per_upload, {HINT}"
            ),
        ),
        (
            WITH_IMAGE,
            ledger(ceiling="4", upload_ceiling="3"),
            "6",
            (
                "0 of 6 credits used; the next job may cost up to 7 with its upload, "
                "by the declared ceilings"
            ),
            (
                "raise the budget, or lower budget.max_credits_per_job "
                f"or budget.max_credits_per_upload, {HINT}"
            ),
        ),
        (
            JOB,
            ledger(seen="2", ceiling="50", held="9"),
            "10",
            (
                "9 of 10 credits used (9 of them held); "
                "the next job may cost up to 50, its declared ceiling"
            ),
            AGAIN,
        ),
        (
            HoldRequest(W, held=D(1)),
            ledger(seen="2", ceiling="50", held="9"),
            "10",
            (
                "9 of 10 credits used (9 of them held); "
                "the next job may cost up to 50, its declared ceiling"
            ),
            f"raise the budget, or lower budget.max_credits_per_job, {HINT}",
        ),
        (
            WITH_TWO,
            ledger(seen="4", ceiling="4", upload_ceiling="3"),
            "9",
            (
                "0 of 9 credits used; the next job may cost up to 10 with its uploads, "
                "by the declared ceilings"
            ),
            f"raise the budget, or lower budget.max_credits_per_upload, {HINT}",
        ),
        (
            JOB,
            ledger(seen="4", ceiling="50"),
            "3",
            "0 of 3 credits used; the next job may cost up to 50, its declared ceiling",
            AGAIN,
        ),
        (
            JOB,
            ledger(ceiling="50"),
            "0",
            "0 of 0 credits used; the next job may cost up to 50, its declared ceiling",
            AGAIN,
        ),
        (
            JOB,
            ledger(ceiling="4", held="9"),
            "10",
            (
                "9 of 10 credits used (9 of them held); "
                "the next job may cost up to 4, its declared ceiling"
            ),
            (
                "credits are held for unanswered requests: run the same command again "
                "(if a job was changed or removed since then, restore it in the manifest first), "
                "raise the budget, or lower budget.max_credits_per_job"
            ),
        ),
        (
            JOB,
            ledger(seen="4", ceiling="4"),
            "3",
            "0 of 3 credits used; the next job needs 4",
            AGAIN,
        ),
        (
            WITH_IMAGE,
            ledger(seen="2", ceiling="4"),
            "3",
            "0 of 3 credits used; the next job needs more than 4",
            f"raise the budget, or lower budget.max_credits_per_job, {HINT}",
        ),
    ],
)
def test_a_job_that_is_blocked_says_why_and_what_to_do(
    request_: HoldRequest, books: Ledger, budget: str, message: str, hint: str
) -> None:
    decision = decide_admission(request_, books, D(budget), IDLE)
    assert isinstance(decision, Block)
    assert isinstance(decision.error, ErrorInfo)
    assert (decision.error.message, decision.error.hint) == (message, hint)


def test_what_is_held_for_an_upload_without_a_figure_is_named_with_what_to_declare() -> None:
    books = ledger(seen="2", upload="0.5")
    for event in (intended_event(8, "p"), Lost(at=1.0, nonce="n")):
        books.apply("asset:x", event)
    blocked = decide_admission(JOB, books, D(9), IDLE)
    assert isinstance(blocked, Block)
    assert blocked.error.hint is not None
    assert blocked.error.hint.startswith(
        "credits are held for unanswered requests: run the same command again"
    )
    assert blocked.error.hint.endswith(
        ", or raise the budget; 8 are held for uploads: "
        "set budget.max_credits_per_upload to count each at that price"
    )
    books.prices.upload_ceiling = D(8)
    assert "max_credits_per_upload" not in str(decide_admission(JOB, books, D(9), IDLE))


def test_a_job_that_would_not_fit_without_what_is_held_is_not_told_to_wait_for_it() -> None:
    books = ledger(seen="2", held="1")
    for event in (
        held_event(9, key="d"),
        accepted_event(9, "d"),
        Succeeded(at=2.0, outputs=1, numbers=(0,)),
    ):
        books.apply("done", event)
    blocked = decide_admission(JOB, books, D(10), IDLE)
    assert isinstance(blocked, Block)
    assert blocked.error.message.startswith("10 of 10 credits used (1 of them held)")
    assert blocked.error.hint == AGAIN


def test_what_is_held_for_refunds_is_named() -> None:
    missing = decide_admission(JOB, FAILED_JOB, D(5), beside())
    assert missing == Block(ErrorInfo("REFUND_MISSING", "the refunds of failed jobs are missing"))
    books = ledger(seen="2", held="1", refunds="1")
    blocked = decide_admission(JOB, books, D(2), IDLE)
    assert isinstance(blocked, Block)
    assert (blocked.error.hint or "").startswith(
        "credits are held for unanswered requests and refunds that were not seen: run the same"
    )


def test_a_price_that_nothing_bounds_names_the_submit_that_is_in_doubt() -> None:
    decision = decide_admission(JOB, ledger(), D(9), DOUBT)
    assert isinstance(decision, Block)
    assert (
        "has no upper limit within the budget, and an earlier submit is still unanswered"
        in decision.error.message
    )
    assert decision.error.hint == (
        "run the same command again (if a job was changed or removed since then, "
        "restore it in the manifest first), with --resubmit-unknown if it suggests that; "
        "or set budget.max_credits_per_job"
    )


@each_case(
    "situation, message",
    [
        (
            account("1.5", closed=True),
            "the account has 1.5 credits available; the next job needs 2",
        ),
        (
            AdmissionState(False, account_closed=True),
            "the account has too few credits available; the next job needs 2",
        ),
        (account("-3", closed=True), "the account has 0 credits available; the next job needs 2"),
    ],
)
def test_an_account_without_credits_is_named_with_what_it_has(
    situation: AdmissionState, message: str
) -> None:
    decision = decide_admission(JOB, ledger(seen="2"), D(50), situation)
    assert isinstance(decision, Block)
    assert decision.error.message == message
    assert (
        decision.error.hint
        == f"add credits to the account {HINT}; completed jobs are not paid for again"
    )


@each_case(
    "left, seen, uploads, needs",
    [("0", None, 0, "costs more"), ("1", "2", 1, "needs more than 2"), ("1", "2", 0, "needs 2")],
)
def test_what_an_account_lacks_for_a_job_without_a_price_is_not_a_number(
    left: str, seen: str | None, uploads: int, needs: str
) -> None:
    decision = decide_admission(
        HoldRequest(W, uploads),
        ledger() if seen is None else ledger(seen=seen),
        D(50),
        account(left, closed=True),
    )
    assert isinstance(decision, Block)
    assert (
        decision.error.message == f"the account has {left} credits available; the next job {needs}"
    )


@each_case("seen", [None, "2"])
def test_a_402_from_an_account_with_enough_credits_is_not_taken_for_an_empty_account(
    seen: str | None,
) -> None:
    situation = replace(account("100000", closed=True), refusal="a limit is reached")
    decision = decide_admission(
        JOB, ledger() if seen is None else ledger(seen=seen), D(50), situation
    )
    assert isinstance(decision, Block)
    assert decision.error.message == (
        "the gateway refused a purchase for lack of credits (402: a limit is reached), "
        "and shows 100000 credits available"
    )
    assert decision.error.hint is not None
    assert decision.error.hint.startswith(CHECK_IT)


@each_case("ends", [("lost", "lost"), ("lost", "assumed"), ("assumed", "assumed")])
def test_after_two_uploads_of_unknown_price_that_went_unanswered_no_other_is_bought(
    ends: tuple[str, str],
) -> None:
    """Nobody can count them.

    A job without images goes on, and so does all where a price or a ceiling is known.
    """
    said = {
        "lost": Lost(at=1.0, nonce="n"),
        "assumed": Created(at=1.0, asset_id="a", credits=D(0), assumed=True),
    }

    def books(count: int, **known: str) -> Ledger:
        found = ledger(**known)  # type: ignore[arg-type]
        for number, end in enumerate(ends[:count]):
            happened: list[Event] = [
                intended_event(0, "p"),
                said[end],
            ]
            for event in happened:
                found.apply(f"asset:{number}", event)
        return found

    with_image, without = HoldRequest(W, uploads=1), JOB
    assert verdict(decide_admission(with_image, books(1), D(50), IDLE)) == "alone 50"
    blocked = decide_admission(with_image, books(2), D(50), IDLE)
    assert blocked == Block(
        ErrorInfo(
            "BUDGET_EXHAUSTED",
            (
                "the answers to 2 uploads were lost before the price of an upload was known, "
                "so their cost is unknown"
            ),
            hint=f"set budget.max_credits_per_upload, so that each counts at that price, {HINT}",
        )
    )
    assert raised_budget(books(2), {W: 3}, 1, D(50)) is None
    assert raised_budget(books(2), {W: 3}, 0, D(50)) is not None
    assert verdict(decide_admission(without, books(2), D(50), IDLE)) == "alone 50"
    assert verdict(decide_admission(with_image, books(2, upload="1"), D(50), IDLE)) == "alone 18"
    assert (
        verdict(decide_admission(with_image, books(2, upload_ceiling="5"), D(50), IDLE))
        == "alone 40"
    )
    assert verdict(decide_admission(with_image, books(2), None, IDLE)) == "admit 0"


@each_case(
    "books, uploads, enough",
    [
        (ledger(seen="2"), 0, "6"),
        (ledger(seen="2", held="5"), 0, "11"),
        (ledger(seen="2", ceiling="4"), 0, "12"),
        (ledger(ceiling="4"), 0, "12"),
        (ledger(seen="2", upload="0.5"), 2, "7"),
        (ledger(seen="2", upload_ceiling="1"), 2, "8"),
        (ledger(seen="2"), 2, None),
        (ledger(), 0, None),
    ],
)
def test_the_budget_that_is_enough_has_room_for_every_job_at_its_ceiling_or_the_price_seen(
    books: Ledger, uploads: int, enough: str | None
) -> None:
    found = budget_for(books, {W: 3}, uploads)
    assert found == (enough and D(enough))
    if found is not None and not uploads:
        assert isinstance(decide_admission(JOB, books, found, IDLE), Admit)
        assert isinstance(decide_admission(JOB, books, books.committed + found / 6, IDLE), Block)


@each_case(
    "books, uploads",
    [
        (ledger(), 0),
        (ledger(), 4),
        (ledger(seen="2"), 4),
        (ledger(upload="1"), 4),
        (ledger(upload="1"), 0),
    ],
)
def test_a_raised_budget_admits_the_next_job_although_a_price_is_unknown(
    books: Ledger, uploads: int
) -> None:
    found = raised_budget(books, {W: 3}, uploads, D(4))
    assert found is not None
    assert found > 4
    assert isinstance(decide_admission(HoldRequest(W, min(uploads, 1)), books, found, IDLE), Admit)


def test_what_has_no_price_counts_at_the_guess() -> None:
    assert budget_for(ledger(held="7"), {W: 3}, 2, guess=D(5)) == 7 + 5 * (3 + 2)
    assert budget_for(ledger(seen="2"), {W: 3}, 2, guess=D(5)) == 2 * 3 + 5 * 2
    assert raised_budget(ledger(), {W: 1}, 0, D("0.5")) == D("1.5")
    assert raised_budget(ledger(), {W: 1}, 0, D(4)) == 8


def test_a_raised_budget_is_the_one_that_is_enough_if_all_prices_are_known() -> None:
    books = ledger(seen="2", upload="1")
    assert raised_budget(books, {W: 3}, 4, D(4)) == budget_for(books, {W: 3}, 4)
