"""The audit: whatever happened, honest books and an honest ledger agree, and no altered amount gets
by.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.audit_claims import (
    CreditStatus,
    Finding,
    JobClaim,
    UploadClaim,
    UploadState,
    Verdict,
)
from crucible_batch.core.gateway_types import LedgerEntry
from crucible_batch.core.ledger_coverage import LedgerCoverage
from crucible_batch.core.ledger_statement import Statement
from crucible_batch.features.check.audit import Audit, JournalClaims, audit
from crucible_batch.features.check.upload_audit import UploadSums
from tests.features.check.sandbox_books import Shared
from tests.harness.case_table import each_case
from tests.harness.replacing import replace

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("submit"),
            st.sampled_from(["zimage-base", "zimage-sheet"]),
            st.sampled_from(["a", "nsfw"]),
        ),
        st.sampled_from([("poll",), ("upload",), ("delete",)]),
        st.tuples(st.just("pass_time"), st.sampled_from([0.125, 1.0, 60.0])),
        st.tuples(st.just("stranger"), st.booleans()),
    ),
    max_size=25,
)


def drive(shared: Shared, steps: Sequence[tuple[object, ...]], *, alone: bool = False) -> Shared:
    for step in steps:
        match step:
            case ("submit", str(workflow_id), str(prompt)):
                shared.submit(workflow_id, prompt)
            case ("pass_time", float(seconds)):
                shared.pass_time(seconds)
            case ("stranger", bool(uploads)):
                if not alone:
                    shared.stranger(uploads=uploads)
            case (str(name),):
                getattr(shared, name)()
    return shared


@given(STEPS, st.sampled_from([1, 3, 10, 1000]), st.sampled_from([-200.0, 0.0, 0.4, 200.0]))
def test_books_kept_of_the_same_answers_never_differ(
    steps: list[tuple[object, ...]], recent: int, skew: float
) -> None:
    """However few entries the gateway shows, whoever shares the account, however our clock goes."""
    shared = drive(Shared(recent=recent, skew=skew), steps)
    found = shared.audit()
    assert found.differences == ()
    if recent == 1000:
        assert found.count(Verdict.UNSEEN) == 0 or not found.jobs


@given(STEPS, st.data())
def test_a_single_altered_amount_of_ours_is_found(
    steps: list[tuple[object, ...]], data: st.DataObject
) -> None:
    shared = drive(Shared(), [("submit", "zimage-base", "a"), *steps])
    books, entries = shared.books(), shared.entries()
    by = data.draw(st.sampled_from([Decimal("0.25"), Decimal("-0.125"), Decimal(100)]))
    ours = {claim.job_id: claim.name for claim in books.jobs}
    choices: list[tuple[str, int]] = [("job", place) for place in range(len(books.jobs))]
    choices += [("upload", place) for place in range(len(books.uploads))]
    choices += [("entry", place) for place, entry in enumerate(entries) if entry.job_id in ours]
    match data.draw(st.sampled_from(choices)):
        case ("job", place):
            jobs = list(books.jobs)
            jobs[place] = replace(jobs[place], price=jobs[place].price + by)
            found, name = shared.audit(replace(books, jobs=jobs)), jobs[place].name
        case ("upload", place):
            uploads = list(books.uploads)
            uploads[place] = replace(uploads[place], charge=uploads[place].charge + by)
            found, name = shared.audit(replace(books, uploads=uploads)), "uploads"
        case (_, place):
            name = ours[entries[place].job_id or ""]
            entries[place] = replace(entries[place], amount=entries[place].amount + by)
            found = shared.audit(entries=entries)
    names = [each.name if isinstance(each, Finding) else "uploads" for each in found.differences]
    # More in the ledger than in the journal may be another buyer's.
    may_be_others = by < 0 or ("stranger", True) in steps
    assert names == [name] or (name == "uploads" and may_be_others and not names)


@given(STEPS, st.data())
def test_on_an_account_of_our_own_an_altered_upload_entry_is_a_difference_or_noted(
    steps: list[tuple[object, ...]], data: st.DataObject
) -> None:
    shared = drive(
        Shared(), [("submit", "zimage-base", "a"), ("upload",), *steps, ("delete",)], alone=True
    )
    entries = shared.entries()
    places = [
        place for place, entry in enumerate(entries) if entry.entry_type in {"upload", "rebate"}
    ]
    place = data.draw(st.sampled_from(places))
    entries[place] = replace(entries[place], amount=entries[place].amount + Decimal("0.01"))
    found = shared.audit(entries=entries)
    assert found.uploads is not None
    assert (
        found.differences
        or found.uploads.surplus
        or found.uploads.ledger.returned > found.uploads.books.returned
    )


# --- ledgers made by hand


def entry(
    entry_type: str, amount: object, at: float | None = 50.5, job_id: str | None = "j1", **more: str
) -> LedgerEntry:
    return LedgerEntry(
        entry_id=f"{entry_type}{amount}{at}{job_id}{more}",
        entry_type=entry_type,
        amount=Decimal(str(amount)),
        at=at,
        job_id=job_id,
        description=more.get("description", ""),
        more=(more["more"],) if "more" in more else (),
    )


def job(
    status: CreditStatus = CreditStatus.CHARGED, price: object = 2, **fields: object
) -> JobClaim:
    claim = JobClaim("hero", 1, "j1", Decimal(str(price)), status, 50.0, 51.0, 60.0)
    return replace(claim, **fields)  # type: ignore[arg-type]


def upload(state: UploadState = UploadState.KNOWN, **fields: object) -> UploadClaim:
    claim = UploadClaim("cat.png", "aa", state, 50.0, 51.0, "n1", "asset-1", Decimal("0.5"))
    return replace(claim, **fields)  # type: ignore[arg-type]


BEFORE = entry("grant", 100, at=1.5, job_id=None)


def look(
    *entries: LedgerEntry,
    jobs: Sequence[JobClaim] = (),
    uploads: Sequence[UploadClaim] = (),
    present: Sequence[str] = ("asset-1",),
    **books: object,
) -> Audit:
    read = JournalClaims(jobs, uploads, runs=[(40.0, 70.0)])
    read = replace(read, **books)  # type: ignore[arg-type]
    return audit(read, Statement([BEFORE, *entries]), present, asked_at=1000.0)


def reasons(found: Audit) -> list[str]:
    return [reason for each in found.differences for reason in each.reasons]


@each_case("sign", [1, -1])
@each_case(
    "words", [("reserve", "consume"), ("RESERVE", "CONSUME"), ("job_reserve", "job.consumed")]
)
def test_signs_and_spellings_make_no_difference(words: tuple[str, str], sign: int) -> None:
    found = look(entry(words[0], -2 * sign), entry(words[1], 2 * sign), jobs=[job()])
    assert [each.verdict for each in found.jobs] == [Verdict.AGREES]


@each_case(
    "status, entries, expected",
    [
        (CreditStatus.CHARGED, ["reserve"], ["not charged"]),
        (CreditStatus.CHARGED, ["reserve", "refund"], ["not charged but refunded"]),
        (CreditStatus.CHARGED, ["reserve", "consume", "refund"], ["both charged and refunded"]),
        (CreditStatus.REFUNDED, ["reserve", "consume"], ["not refunded but charged"]),
        (CreditStatus.REFUNDED, ["reserve"], ["not refunded"]),
        (
            CreditStatus.CHARGED,
            ["reserve", "consume", "bonus"],
            ["an entry of an unknown type: bonus"],
        ),
        (CreditStatus.HELD, ["reserve"], []),
        (CreditStatus.HELD, ["reserve", "refund"], []),
        (CreditStatus.ASSUMED, ["reserve", "refund"], []),
        (CreditStatus.REFUNDED, ["reserve", "refund"], []),
    ],
)
def test_a_jobs_entries_must_follow_its_standing(
    status: CreditStatus, entries: list[str], expected: list[str]
) -> None:
    found = look(*(entry(word, 2) for word in entries), jobs=[job(status)])
    assert reasons(found) == expected


@each_case(
    "status, booked, expected",
    [
        (CreditStatus.REFUNDED, "completed", []),
        (CreditStatus.REFUNDED, "", []),
        (
            CreditStatus.REFUNDED,
            "pending",
            ["a refund that has not taken effect: refund, pending", "not refunded"],
        ),
        (
            CreditStatus.REFUNDED,
            "failed",
            ["a refund that has not taken effect: refund, failed", "not refunded"],
        ),
        (CreditStatus.HELD, "pending", []),
        (CreditStatus.ASSUMED, "pending", []),
    ],
)
def test_a_refund_counts_once_it_has_taken_effect(
    status: CreditStatus, booked: str, expected: list[str]
) -> None:
    """As in a run, which holds the credits until then."""
    refund = replace(entry("refund", 2), status=booked)
    found = look(entry("reserve", 2), refund, jobs=[job(status)])
    assert reasons(found) == expected
    assert found.jobs[0].ledger.returned == (2 if booked in ("completed", "") else 0)


@each_case("word", ["refund_requested", "refund_denied"])
def test_a_refund_that_is_only_requested_is_none(word: str) -> None:
    found = look(entry("reserve", 2), entry(word, 2), jobs=[job(CreditStatus.REFUNDED)])
    assert "not refunded" in reasons(found)
    assert found.jobs[0].ledger.returned == 0


def recent(found: Audit) -> list[bool]:
    return [each.is_recent for each in found.differences]


def test_only_what_was_made_within_ten_minutes_may_not_be_listed_yet() -> None:
    """It is a difference nevertheless."""
    timer = replace(TIMER, job_id="j9")
    for at, expected in ((500.0, True), (400.0, False), (390.0, False)):
        unlisted = job(held_at=at - 1, accepted_at=at, ended_at=at + 10.0)
        found = look(*TIMED, jobs=[timer, unlisted])
        assert (reasons(found), recent(found)) == (["no entry in the ledger"], [expected])
        unconsumed = job(held_at=50.0, accepted_at=51.0, ended_at=at)
        found = look(*TIMED, entry("reserve", 2), jobs=[timer, unconsumed])
        assert (reasons(found), recent(found)) == (["not charged"], [expected])
        unpaid = upload(begun_at=at - 1, answered_at=at)
        found = look(*TIMED, jobs=[timer], uploads=[unpaid])
        assert (len(reasons(found)), recent(found)) == (1, [expected])
        unrebated = upload(rebate=Decimal("0.5"), deleted_at=at)
        found = look(
            *TIMED,
            entry("upload", "0.5", job_id=None),
            jobs=[timer],
            uploads=[unrebated],
            present=(),
        )
        assert (len(reasons(found)), recent(found)) == (1, [expected])


@each_case(
    "entries, claim",
    [
        (["consume"], job(accepted_at=51.0, ended_at=990.0)),  # the reservation is older
        (["reserve", "refund"], job(accepted_at=989.0, ended_at=990.0)),
        (["reserve", "consume", "consume"], job(accepted_at=989.0, ended_at=990.0)),
        (["reserve", "bonus"], job(accepted_at=989.0, ended_at=990.0)),
        (["reserve", "consume"], job(price=3, accepted_at=989.0, ended_at=990.0)),
        ([], job(accepted_at=989.0, ended_at=990.0, answered=Decimal(2), recorded=Decimal(3))),
    ],
)
def test_another_difference_does_not_go_away_by_waiting(
    entries: list[str], claim: JobClaim
) -> None:
    listed = [entry(word, 2, at=50.5 + number) for number, word in enumerate(entries)]
    found = look(*TIMED, *listed, jobs=[TIMER, claim])
    assert recent(found) == [False]


def test_an_upload_that_is_charged_twice_or_still_listed_is_not_only_late() -> None:
    new = upload(begun_at=988.0, answered_at=989.0)
    named = [
        entry(word, "0.5", at=988.5, job_id=None, more="asset-1") for word in ("upload", "consume")
    ]
    assert recent(look(*TIMED, *named, jobs=[TIMER], uploads=[new])) == [False]
    deleted = replace(new, rebate=Decimal("0.5"), deleted_at=990.0)
    paid = entry("upload", "0.5", at=988.5, job_id=None)
    assert recent(look(*TIMED, paid, jobs=[TIMER], uploads=[deleted])) == [
        False
    ]  # it is still at the gateway


def test_a_job_that_was_reserved_twice_is_a_difference() -> None:
    found = look(
        entry("reserve", 2), entry("reserve", 2, at=50.75), entry("consume", 2), jobs=[job()]
    )
    assert reasons(found) == ["reserved 2 times"]
    assert found.jobs[0].ledger.charged == 2


def test_a_job_that_answered_two_keys_is_a_difference_of_both() -> None:
    jobs = [job(), job(name="other", job_id="J1"), job(name="third", job_id="j3")]
    found = look(
        entry("reserve", 2), entry("consume", 2), entry("reserve", 2, job_id="j3"), jobs=jobs
    )
    said = [
        "the gateway returned the same job for another key" in each.reasons for each in found.jobs
    ]
    assert said == [True, True, False]


def test_an_entry_that_is_shown_twice_counts_once() -> None:
    found = look(entry("reserve", 2), entry("reserve", 2), entry("consume", 2), jobs=[job()])
    assert found.differences == ()


def test_a_job_whose_id_stands_in_the_description_only_is_found() -> None:
    texts = [
        entry("reserve", 2, job_id=None, description="job J1"),
        entry("consume", 2, job_id=None, more="j1"),
    ]
    assert [each.verdict for each in look(*texts, jobs=[job()]).jobs] == [Verdict.AGREES]


def test_a_job_that_is_not_in_the_ledger_is_a_difference_only_where_it_would_surely_show() -> None:
    seen = [entry("reserve", 2, at=20.5, job_id="j0"), entry("consume", 2, at=21.5, job_id="j0")]
    known = job(name="known", job_id="j0", held_at=20.0, accepted_at=21.0)
    assert reasons(look(*seen, jobs=[known, job()])) == ["no entry in the ledger"]
    early = job(held_at=1.4, accepted_at=3.0)
    assert [each.verdict for each in look(*seen, jobs=[known, early]).jobs] == [
        Verdict.AGREES,
        Verdict.UNSEEN,
    ]
    assert [each.verdict for each in look(jobs=[job()]).jobs] == [Verdict.UNSEEN]
    found_by_key = job(bought_here=False)
    assert [each.verdict for each in look(*seen, jobs=[known, found_by_key]).jobs] == [
        Verdict.AGREES,
        Verdict.UNSEEN,
    ]


def seen_by_runs(
    *shown: LedgerEntry,
    seen: Sequence[LedgerEntry] = (),
    coverages: Sequence[LedgerCoverage] = (),
    claim: JobClaim,
) -> Audit:
    return audit(JournalClaims([claim], []), Statement(shown, seen, coverages), (), asked_at=9000.0)


@each_case(
    "status, words, verdict",
    [
        (CreditStatus.CHARGED, ["reserve", "consume"], Verdict.AGREES),
        (CreditStatus.CHARGED, ["reserve"], Verdict.UNSEEN),
        (CreditStatus.CHARGED, ["reserve", "refund"], Verdict.DIFFERS),
        (CreditStatus.REFUNDED, ["reserve", "refund"], Verdict.AGREES),
        (CreditStatus.REFUNDED, ["reserve"], Verdict.UNSEEN),
        (CreditStatus.ASSUMED, ["reserve"], Verdict.AGREES),
        (CreditStatus.CHARGED, [], Verdict.UNSEEN),
    ],
)
def test_an_end_that_may_have_passed_unseen_is_no_difference_and_not_checked(
    status: CreditStatus, words: list[str], verdict: Verdict
) -> None:
    """The list has newer entries only, and the last reading was too early for the end."""
    newer = entry("reserve", 5, at=8000.0, job_id="j9")
    coverages = [LedgerCoverage(40.0, 61.0, (), ())]
    found = seen_by_runs(
        newer, seen=[entry(word, 2) for word in words], coverages=coverages, claim=job(status)
    )
    assert [each.verdict for each in found.jobs] == [verdict]


def test_an_end_that_readings_would_have_shown_is_a_difference() -> None:
    newer = entry("reserve", 5, at=8000.0, job_id="j9")
    for until, expected in ((60.0 + 600, ["not charged"]), (60.0 + 599, [])):
        coverages = [LedgerCoverage(40.0, until, (), ())]
        found = seen_by_runs(newer, seen=[entry("reserve", 2)], coverages=coverages, claim=job())
        assert reasons(found) == expected
    found = seen_by_runs(newer, coverages=[LedgerCoverage(40.0, 700.0, (), ())], claim=job())
    assert reasons(found) == ["no entry in the ledger"]
    late = seen_by_runs(newer, coverages=[LedgerCoverage(50.5, 700.0, (), ())], claim=job())
    assert reasons(late) == []


def test_a_job_in_flight_has_no_end_to_be_shown() -> None:
    running = job(CreditStatus.HELD, ended_at=None)
    assert [each.verdict for each in look(entry("reserve", 2), jobs=[running]).jobs] == [
        Verdict.MOVING
    ]


def test_an_audit_states_whether_it_used_what_runs_saw() -> None:
    assert not seen_by_runs(claim=job()).is_recorded
    assert seen_by_runs(coverages=[LedgerCoverage(40.0, 61.0, (), ())], claim=job()).is_recorded


def test_what_our_books_learned_after_the_ledger_was_asked_is_no_difference() -> None:
    late = job(ended_at=1000.0)
    assert [each.verdict for each in look(entry("reserve", 2), jobs=[late]).jobs] == [
        Verdict.MOVING
    ]
    later = job(
        held_at=999.0,
        accepted_at=1000.5,
        ended_at=None,
        status=CreditStatus.HELD,
        name="b",
        job_id="j2",
    )
    known = job()
    found = look(entry("reserve", 2), entry("consume", 2), jobs=[known, later])
    assert [each.verdict for each in found.jobs] == [Verdict.AGREES, Verdict.MOVING]


def test_a_job_in_flight_at_another_price_is_a_difference_already() -> None:
    assert reasons(look(entry("reserve", 3), jobs=[job(CreditStatus.HELD)])) == [
        "reserved at 3, not 2"
    ]


def test_a_ledger_without_times_and_ids_is_joined_as_far_as_it_goes() -> None:
    bare = [replace(entry(word, 2, at=None), entry_id="") for word in ("reserve", "consume")]
    paid = replace(entry("upload", "0.5", at=None, job_id=None), entry_id="")
    found = audit(
        JournalClaims([job(), job(job_id="j2")], [upload()]),
        Statement([*bare, paid]),
        ["asset-1"],
        asked_at=1000.0,
    )
    assert found.oldest is None
    assert [each.verdict for each in found.jobs] == [Verdict.AGREES, Verdict.UNSEEN]
    assert uploads_of(found).ledger.charged == Decimal("0.5")


def uploads_of(found: Audit) -> UploadSums:
    assert found.uploads is not None
    return found.uploads


def test_an_empty_ledger_says_nothing() -> None:
    found = audit(JournalClaims([job()], [upload()]), Statement([]), ["asset-1"], asked_at=1000.0)
    assert found.count(Verdict.UNSEEN) == 2


# A job that tells how the clocks stand, so that what is missing is known to be missing.
TIMED = (entry("reserve", 2, at=45.5, job_id="j9"), entry("consume", 2, at=46.5, job_id="j9"))
TIMER = job(name="timer", job_id="j9", held_at=45.0, accepted_at=46.0)


@pytest.mark.parametrize(
    ("charge", "rebate"),
    [
        (entry("upload", "0.5", job_id=None), entry("rebate", "0.5", at=80.5, job_id=None)),
        (entry("consume", "-0.5", job_id=None), entry("refund", "0.5", at=80.5, job_id=None)),
        (entry("adjustment", "-0.5", job_id=None, description="Asset upload"),
         entry("adjustment", "0.5", at=80.5, job_id=None, description="Asset deleted")),
        (entry("upload", "0.5", at=7.5, job_id=None, more="asset-1"),
         entry("rebate", "0.5", at=7.5, job_id=None, description="for ASSET-1")),
    ],
    ids=["the sandbox's words", "a job's words", "by description", "by id, whatever the time"],
)  # fmt: skip
def test_uploads_and_rebates_are_recognised(charge: LedgerEntry, rebate: LedgerEntry) -> None:
    deleted = upload(rebate=Decimal("0.5"), deleted_at=81.0)
    found = look(*TIMED, charge, rebate, jobs=[TIMER], uploads=[deleted], present=())
    assert uploads_of(found).verdict is Verdict.AGREES
    assert found.unmatched == (BEFORE,)


@each_case(
    "claim, entries, expected",
    [
        (upload(), [], ["charged 0.5 in the journal, 0 in the ledger"]),
        (upload(), [("upload", "0.4")], ["charged 0.5 in the journal, 0.4 in the ledger"]),
        (upload(), [("upload", "0.6")], []),  # it may be another buyer's
        (upload(), [("upload", "0.5", "asset-1"), ("upload", "0.5", "asset-1 again")],
         ["charged 0.5 in the journal, 1 in the ledger"]),
        (upload(rebate=Decimal("0.5"), deleted_at=81.0), [("upload", "0.5"), ("rebate", "0.4")],
         ["rebated 0.5 in the journal, 0.4 in the ledger",
          "1 deleted, but still listed by the gateway"]),
        (upload(charge=Decimal(0)), [], []),
        (upload(UploadState.ASSUMED), [], []),
        (upload(UploadState.LOST, asset_id=None), [], []),
        (upload(rebate=Decimal(0), deleted_at=81.0), [("upload", "0.5"), ("rebate", "0.5")], []),
    ],
)  # fmt: skip
def test_a_difference_of_the_uploads_is_named(
    claim: UploadClaim, entries: list[tuple[str, ...]], expected: list[str]
) -> None:
    made = [
        entry(word, amount, job_id=None, more=" ".join(more)) for word, amount, *more in entries
    ]
    found = look(*TIMED, *made, jobs=[TIMER], uploads=[claim])
    assert reasons(found) == expected


def test_two_uploads_need_two_entries() -> None:
    both = [upload(), upload(name="dog.png", asset_id="asset-2", begun_at=50.5, answered_at=52.0)]
    one = entry("upload", "0.5", at=50.75, job_id=None)
    assert len(look(*TIMED, one, jobs=[TIMER], uploads=both).differences) == 1
    two = entry("upload", "0.5", at=51.75, job_id=None)
    assert look(*TIMED, one, two, jobs=[TIMER], uploads=both).differences == ()


@each_case(
    "doubtful, verdict",
    [
        (upload(name="old", begun_at=1.0, answered_at=52.0), Verdict.UNSEEN),
        (upload(name="new", answered_at=1000.0), Verdict.MOVING),
    ],
)
def test_an_upload_that_may_no_longer_or_not_yet_be_shown_is_not_checked(
    doubtful: UploadClaim, verdict: Verdict
) -> None:
    paid = entry("upload", "0.5", at=51.5, job_id=None)
    sure = upload(begun_at=51.0, answered_at=53.0)
    found = look(*TIMED, paid, jobs=[TIMER], uploads=[replace(doubtful, asset_id="asset-2"), sure])
    assert found.differences == ()
    assert uploads_of(found).verdict is verdict


def test_a_strangers_upload_of_the_same_time_is_a_surplus() -> None:
    ours = entry("upload", "0.5", job_id=None)
    theirs = entry("upload", "0.5", at=50.75, job_id=None)
    found = look(*TIMED, ours, theirs, jobs=[TIMER], uploads=[upload()])
    assert (uploads_of(found).verdict, uploads_of(found).surplus) == (
        Verdict.AGREES,
        Decimal("0.5"),
    )


def test_images_that_are_listed_gone_or_without_an_answer_are_counted() -> None:
    claims = [
        upload(),
        upload(asset_id="asset-2"),
        upload(asset_id="asset-3", rebate=Decimal("0.5"), deleted_at=81.0),
        upload(UploadState.LOST, asset_id=None),
    ]
    sums = uploads_of(look(jobs=[TIMER], uploads=claims))
    assert (sums.count, sums.present, sums.gone, sums.lost) == (4, 1, 1, 1)


def test_a_second_purchase_by_us_would_stand_among_the_strangers_of_our_time() -> None:
    pair = [entry("reserve", 2), entry("consume", 2)]
    twin = [entry("reserve", 2, at=55.5, job_id="jx"), entry("consume", 2, at=56.5, job_id="jx")]
    dear = entry("reserve", 7, at=55.5, job_id="jy")
    later = entry("reserve", 2, at=500.5, job_id="jz")
    free = entry("reserve", 0, at=55.5, job_id="jw")
    found = look(*pair, *twin, dear, later, free, jobs=[job()])
    assert set(found.at_our_time) == set(twin)
    assert set(found.unmatched) == {BEFORE, *twin, dear, later, free}
    assert found.differences == ()
