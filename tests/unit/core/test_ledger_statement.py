"""The gateway's statement: kinds, states and subjects of its entries, and what it would surely
show.
"""

from __future__ import annotations

from decimal import Decimal

from crucible_batch.core.gateway_types import LedgerEntry
from crucible_batch.core.ledger_coverage import LedgerCoverage
from crucible_batch.core.ledger_statement import (
    LISTED_AFTER_S,
    Clocks,
    EntryKind,
    Statement,
    entry_amount,
    entry_kind,
    is_booked_refund,
    names_several,
)
from tests.harness.case_table import each_case


def entry(
    kind: str = "refund", *, entry_id: str = "e", job_id: str | None = "j", **fields: object
) -> LedgerEntry:
    return LedgerEntry(
        entry_id,
        kind,
        Decimal(2),
        job_id=job_id,
        **fields,  # type: ignore[arg-type]
    )


@each_case(
    "kind, description, expected",
    [
        ("refund", "", EntryKind.REFUND),
        ("job-Refunded", "", EntryKind.REFUND),
        ("CONSUME", "", EntryKind.CONSUME),
        ("reservation", "", EntryKind.RESERVE),
        ("adjustment", "refund of job j", EntryKind.OTHER),
        ("adjustment", "consumed by job j", EntryKind.OTHER),
        ("", "refund", EntryKind.OTHER),
        ("reserve", "to be refunded if it fails", EntryKind.RESERVE),
        ("consume", "refund of job j", EntryKind.CONSUME),
        ("nonrefundable", "", EntryKind.OTHER),
        ("reservation_released", "", EntryKind.OTHER),
        ("reserve_refund", "", EntryKind.OTHER),
        ("Consume-Reversal", "", EntryKind.OTHER),
        ("job_consume", "", EntryKind.CONSUME),
    ],
)
def test_the_kind_of_a_jobs_entry_is_in_its_type_alone(
    kind: str, description: str, expected: EntryKind
) -> None:
    assert entry_kind(entry(kind, description=description), of_job=True) is expected


@each_case(
    "kind, description, expected",
    [
        ("adjustment", "upload of cat.png", EntryKind.UPLOAD),
        ("adjustment", "rebate", EntryKind.REBATE),
        ("refund", "asset deleted", EntryKind.REBATE),
        ("adjustment", "thanks", EntryKind.OTHER),
    ],
)
def test_the_kind_of_an_entry_without_a_job_is_in_its_type_or_its_description(
    kind: str, description: str, expected: EntryKind
) -> None:
    assert entry_kind(entry(kind, job_id=None, description=description), of_job=False) is expected


@each_case(
    "kind, expected",
    [
        *(
            (word, True)
            for word in ("refund", "Refunded", "REFUND", "jobs_refund", "generation.refund")
        ),
        *(
            (word, True)
            for word in ("refund_credits", "partial-refund", "full_refund", "automatic refund")
        ),
        *(
            (word, False)
            for word in ("refund_fee", "refund_requested", "refund_reversal", "refund_denied")
        ),
        *(
            (word, False)
            for word in (
                "refund_pending",
                "refund_failed",
                "non_refund",
                "no refund",
                "refund_expected",
            )
        ),
        *(
            (word, False)
            for word in (
                "",
                "job",
                "credit",
                "consume",
                "adjustment",
                "reserve_refund",
                "refundable",
            )
        ),
    ],
)
def test_only_a_type_whose_words_are_all_known_is_that_of_a_refund(
    kind: str, expected: bool
) -> None:
    assert is_booked_refund(entry(kind)) is expected
    assert is_booked_refund(entry(kind, status="completed")) is expected


@each_case(
    "status, expected",
    [
        *(
            (word, True)
            for word in (
                "",
                "completed",
                "POSTED",
                "settled",
                "succeeded",
                "refunded",
                "booked",
                "ok",
            )
        ),
        ("posted, completed", True),
        *(
            (word, False)
            for word in ("pending", "Pending", "requested", "processing", "on_hold", "held", "hold")
        ),
        *(
            (word, False)
            for word in (
                "failed",
                "rejected",
                "declined",
                "canceled",
                "cancelled",
                "void",
                "voided",
            )
        ),
        *(
            (word, False)
            for word in ("reversed", "in_review", "scheduled", "disputed", "unknown", "schwebend")
        ),
        *(
            (word, False)
            for word in ("is_pending", "not completed", "completed_with_reversal", "uncompleted")
        ),
    ],
)
def test_only_a_status_whose_words_are_all_known_to_be_final_is_that_of_a_booked_refund(
    status: str, expected: bool
) -> None:
    assert is_booked_refund(entry(status=status)) is expected


def test_a_description_makes_no_refund_and_hides_none() -> None:
    assert not is_booked_refund(entry("adjustment", description="refund"))
    assert is_booked_refund(entry("refund", description="pending since yesterday"))


def test_an_amount_has_no_sign() -> None:
    assert entry_amount(LedgerEntry("e", "refund", Decimal("-2.5"))) == Decimal("2.5")


def test_an_id_is_found_in_the_texts_if_the_entry_has_no_job_id() -> None:
    named = entry(job_id=None, description="refund of J")
    other = entry(entry_id="f", job_id="k", description="follows j")
    more = entry(entry_id="g", job_id=None, more=("j",))
    assert Statement([named, other, more]).about("J") == (named, more)


ONE, OTHER = "0198c1d2-0000-7000-8000-00000000000a", "0198c1d2-0000-7000-8000-00000000000b"


@each_case(
    "shown, expected",
    [
        (entry(job_id=None, description=f"refund of {ONE}"), False),
        (entry(job_id=None, description=f"refund of {ONE}, again {ONE.upper()}"), False),
        (entry(job_id=None, description=f"refund of {ONE} and {OTHER}"), True),
        (entry(job_id=None, description=f"refund of {ONE}", more=(OTHER,)), True),
        (entry(job_id=None, more=(ONE, f"instead of job_{OTHER.upper()}")), True),
        (entry(job_id=ONE, description=f"refund of {ONE}, follows {OTHER}"), False),
        (entry(job_id=None, description="refund of fox and owl"), False),
    ],
)
def test_a_text_with_several_ids_does_not_show_which_of_them_it_is_about(
    shown: LedgerEntry, expected: bool
) -> None:
    assert names_several(shown) is expected


def test_what_runs_saw_is_known_beside_what_is_shown_now_which_is_the_newer_state() -> None:
    old, pending = entry(entry_id="a", at=1.0), entry(entry_id="b", at=5.0, status="pending")
    now = entry(entry_id="b", at=5.0, status="completed")
    statement = Statement([now], [old, pending])
    assert statement.entries == (old, now)
    assert statement.oldest == 5.0


AT = 1000.0
KNOWN = Clocks([(10.0, 10.5, 11.0)])


@each_case(
    "since, until, is_shown",
    [
        (AT, AT + LISTED_AFTER_S, True),
        (AT - 1, AT + LISTED_AFTER_S + 1, True),
        (AT + 1, AT + LISTED_AFTER_S + 1, False),
        (AT, AT + LISTED_AFTER_S - 1, False),
    ],
)
def test_readings_surely_have_what_was_made_ten_minutes_before_their_end(
    since: float, until: float, is_shown: bool
) -> None:
    statement = Statement([], [], [LedgerCoverage(since, until, (), ())])
    assert KNOWN.surely_shown(statement, AT) is is_shown


def test_any_of_several_coverages_is_enough_and_two_beside_a_gap_are_not() -> None:
    early, late = LedgerCoverage(AT - 9, AT + 9, (), ()), LedgerCoverage(AT + 10, AT + 5000, (), ())
    assert not KNOWN.surely_shown(Statement([], [], [early, late]), AT)
    enough = LedgerCoverage(AT, AT + 900, (), ())
    assert KNOWN.surely_shown(Statement([], [], [early, enough, late]), AT)


def test_what_is_newer_than_the_oldest_entry_shown_is_surely_shown_without_a_reading() -> None:
    shown = Statement([entry(at=AT)], [entry(entry_id="old", at=1.0)])
    assert KNOWN.surely_shown(shown, AT + 3)
    assert not KNOWN.surely_shown(shown, AT - 3)


@each_case(
    "oldest, begun, is_shown",
    [
        (AT, AT + 299.0, False),
        (AT, AT + 300.9, False),  # the oldest time may be cut to the second
        (AT, AT + 301.1, True),
        (AT + 0.5, AT + 300.4, False),
        (AT + 0.5, AT + 300.6, True),
    ],
)
def test_by_a_clock_up_to_five_minutes_behind_ours_an_entry_has_to_be_that_much_newer(
    oldest: float, begun: float, is_shown: bool
) -> None:
    unknown = Clocks([])
    assert unknown.surely_shown(Statement([entry(at=oldest)]), begun) is is_shown


def test_an_end_is_surely_shown_if_the_readings_spanned_all_the_time_it_could_be_in() -> None:
    """A run that was killed learns of an end long after it: it may have passed in between."""
    clocks = Clocks([])
    learned_later = Statement([], [], [LedgerCoverage(5000.0, 9000.0, (), ())])
    assert clocks.surely_shown(learned_later, 6000.0, 7000.0)
    assert not clocks.surely_shown(learned_later, 4000.0, 7000.0)
    assert not clocks.surely_shown(learned_later, 6000.0, 8999.0)
