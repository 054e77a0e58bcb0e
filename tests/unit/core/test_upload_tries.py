"""When an image is uploaded again: each row of the tables of ``core/upload_tries.py``."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.credits import ZERO, Credits
from crucible_batch.core.events import Created, Lost
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.prices import UPLOAD, PriceBook
from crucible_batch.core.upload_tries import (
    MOST_TRIES,
    FailedUpload,
    UploadStop,
    not_ready,
    upload_stop,
)
from tests.harness.case_table import each_case
from tests.harness.job_events import held_event, intended_event

D = Decimal
PAID_BACK = FailedUpload(D("0.5"), D("0.5"))
LOST_PAID_BACK = FailedUpload(None, D("0.5"))
KEPT = FailedUpload(D("0.5"), ZERO)
NEVER_FOUND = FailedUpload(None)


def books(seen: str | None = None, *, ceiling: str | None = None) -> Ledger:
    ledger = Ledger(PriceBook(upload_ceiling=None if ceiling is None else D(ceiling)))
    if seen is not None:
        ledger.prices.learn(UPLOAD, D(seen))
    return ledger


@each_case(
    "upload, price, counts",
    [
        (PAID_BACK, "0.5", False),
        (PAID_BACK, None, False),
        (PAID_BACK, "0.7", False),  # its own charge is known
        (KEPT, "0.5", True),
        (FailedUpload(D("0.5"), D("0.4")), "0.5", True),
        (FailedUpload(ZERO), "0.5", False),
        (LOST_PAID_BACK, "0.5", False),
        (LOST_PAID_BACK, None, False),
        (LOST_PAID_BACK, "0.7", True),
        (NEVER_FOUND, "0.5", True),
        (NEVER_FOUND, None, True),
        (NEVER_FOUND, "0", False),
        (FailedUpload(D("0.5"), D("0.5"), was_refused=True), "0.5", True),
        (FailedUpload(ZERO, was_refused=True), "0.5", True),
    ],
)
def test_an_upload_counts_unless_all_of_it_came_back(
    upload: FailedUpload, price: str | None, counts: bool
) -> None:
    assert upload.counts(None if price is None else D(price)) is counts


@each_case("upload", [KEPT, NEVER_FOUND, FailedUpload(D("0.5"), D("0.5"), was_refused=True)])
def test_two_that_count_are_enough_whatever_was_given_back_beside_them(
    upload: FailedUpload,
) -> None:
    ledger = books("0.5")
    assert upload_stop([upload], ledger, None) is None
    assert upload_stop([upload, *[LOST_PAID_BACK] * 5], ledger, None) is None
    assert (
        upload_stop([LOST_PAID_BACK, upload, PAID_BACK, upload], ledger, None) is UploadStop.IN_VAIN
    )


@each_case("upload", [PAID_BACK, LOST_PAID_BACK, FailedUpload(ZERO)])
def test_what_cost_nothing_ends_after_twenty(upload: FailedUpload) -> None:
    assert upload_stop([upload] * (MOST_TRIES - 1), books("0.5"), None) is None
    assert upload_stop([upload] * MOST_TRIES, books("0.5"), None) is UploadStop.TOO_OFTEN


def test_a_price_that_is_seen_later_shows_that_less_came_back_than_was_charged() -> None:
    uploads = [LOST_PAID_BACK] * 3
    assert upload_stop(uploads, books(), None) is None
    assert upload_stop(uploads, books("0.6"), None) is UploadStop.IN_VAIN


def test_a_price_of_0_proves_nothing_unless_0_is_the_ceiling() -> None:
    """The first upload may be free, and the next one not."""
    uploads = [NEVER_FOUND] * 2
    assert upload_stop(uploads, books("0"), None) is UploadStop.IN_VAIN
    assert upload_stop(uploads, books(ceiling="0"), None) is None


@each_case(
    "budget, stop",
    [("13", UploadStop.BUDGET_HELD), ("32", UploadStop.BUDGET_HELD), ("33", None), (None, None)],
)
def test_half_of_the_budget_is_left_to_the_other_jobs(
    budget: str | None, stop: UploadStop | None
) -> None:
    """Two uploads that were found are held at 8 each, 0.5 of them as charged."""
    ledger = books("0.5")
    ledger.apply(
        "job",
        held_event(30, images=True),
    )
    for event in (
        intended_event(8),
        Lost(at=0.0, nonce="n"),
    ) * 2:
        ledger.apply("asset:x", event)
    assert ledger.held_for_uploads == 16
    assert upload_stop([LOST_PAID_BACK] * 2, ledger, None if budget is None else D(budget)) is stop
    assert upload_stop([LOST_PAID_BACK], ledger, None if budget is None else D(budget)) is None


_AMOUNTS = st.sampled_from([ZERO, D("0.25"), D("0.5"), D(2)])


@given(
    st.lists(st.tuples(_AMOUNTS, st.sampled_from([ZERO, D("0.5"), D(1)])), min_size=30, max_size=30)
)
def test_what_is_spent_on_failed_uploads_is_at_most_what_two_uploads_cost(
    gateway: list[tuple[Credits, Credits]],
) -> None:
    """Whatever each upload costs, and whatever part of it comes back. The answers arrive."""
    ledger, uploads = books(), list[FailedUpload]()
    for charged, share in gateway:
        if upload_stop(uploads, ledger, None) is not None:
            break
        uploads.append(FailedUpload(charged, charged * share))
        ledger.apply("asset:x", Created(at=0.0, asset_id="a", credits=charged))
    in_vain = [upload.charged - upload.rebate for upload in uploads if upload.charged is not None]
    assert sum(in_vain) <= 2 * max(charged for charged, _ in gateway)
    assert len([cost for cost in in_vain if cost]) <= 2
    assert len(uploads) <= MOST_TRIES


@each_case(
    "uploads, stop, figures, hint",
    [
        (
            [KEPT, PAID_BACK, KEPT],
            UploadStop.IN_VAIN,
            "1.5 credits were charged; 0.5 were refunded",
            "--retry-failed",
        ),
        (
            [KEPT, NEVER_FOUND],
            UploadStop.IN_VAIN,
            (
                "0.5 credits were charged; the answers to 1 were lost, "
                "so their cost is unknown; 0 were refunded"
            ),
            "crucible-batch check",
        ),
        (
            [LOST_PAID_BACK] * 20,
            UploadStop.TOO_OFTEN,
            "the answers to 20 were lost, so their cost is unknown; 10 were refunded",
            "check the connection",
        ),
        (
            [LOST_PAID_BACK] * 2,
            UploadStop.BUDGET_HELD,
            "the answers to 2 were lost, so their cost is unknown; 1 were refunded",
            "set budget.max_credits_per_upload",
        ),
    ],
)
def test_the_error_says_what_was_charged_what_came_back_and_what_to_do(
    uploads: list[FailedUpload], stop: UploadStop, figures: str, hint: str
) -> None:
    error = not_ready("a.png", uploads, stop)
    assert error.code == "ASSET_NOT_READY"
    assert error.message == f"a.png was uploaded {len(uploads)} times and is not ready: {figures}"
    assert hint in error.hint
    assert "--retry-failed" in error.hint
