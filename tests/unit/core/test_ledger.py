"""The ledger: no credit appears or is lost, whatever happens to jobs and images."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible_batch.core.credits import format_credits
from crucible_batch.core.events import (
    Accepted,
    AssetEvent,
    BecameReady,
    Created,
    Deleted,
    Failed,
    Found,
    Held,
    HoldReleased,
    Intended,
    JobEvent,
    JobLost,
    Lost,
    NotCharged,
    NotCreated,
    Prepared,
    Refunded,
    Refused,
    Repriced,
    SubmitUnknown,
    Succeeded,
    Uploaded,
)
from crucible_batch.core.gateway_types import ErrorInfo
from crucible_batch.core.job import Job
from crucible_batch.core.ledger import Ledger, PriceSurprise
from crucible_batch.core.prices import UPLOAD, PriceBook, Shape
from tests.harness.case_table import each_case
from tests.harness.histories import lives
from tests.harness.job_events import accepted_event, held_event, intended_event
from tests.harness.replacing import replace

ERROR = ErrorInfo("X", "x")
W = Shape("workflow:w")


def held(credits: str, price_class: str = "workflow:w", *, images: bool = False) -> Held:
    return held_event(credits, price_class=price_class, images=images)


def accepted(credits: str, *, reused: bool = False, earlier: bool = False) -> Accepted:
    return accepted_event(credits, reused=reused, earlier=earlier)


SUCCEEDED = Succeeded(at=0.0, outputs=1)
FAILED = Failed(at=0.0, error=ERROR)
VANISHED = JobLost(at=0.0, error=ERROR)
DECLINED = HoldReleased(at=0.0, error=ERROR)
REFUSED = Refused(at=0.0, error=ERROR)
UNANSWERED = SubmitUnknown(at=0.0, error=ERROR)
NOT_CREATED = NotCreated(at=0.0, error=ERROR)
LOST = Lost(at=0.0, nonce="n")


def intended(credits: str, maximum: str | None = None) -> Intended:
    declared = None if maximum is None else Decimal(maximum)
    return intended_event(credits, maximum=declared)


def created(credits: str, *, assumed: bool = False) -> Created:
    return Created(at=0.0, asset_id="a", credits=Decimal(credits), assumed=assumed)


def refunded(credits: str, *, attempt: int = 1, entry_id: str = "e") -> Refunded:
    return Refunded(at=0.0, attempt=attempt, credits=Decimal(credits), entry_id=entry_id)


def books(*entries: tuple[str, Any]) -> Ledger:
    ledger = Ledger()
    for subject, event in entries:
        ledger.apply(subject, event)
    return ledger


def figures(ledger: Ledger) -> tuple[str, str]:
    return format_credits(ledger.spent), format_credits(ledger.held)


def test_of_a_job_that_is_over_nothing_is_kept() -> None:
    accepted = accepted_event(2, reused=True)
    stories = [
        [held("2"), accepted, Repriced(at=0.0, credits=Decimal(3)), Succeeded(at=0.0, outputs=1)],
        [held("2"), HoldReleased(at=0.0, error=ERROR)],
    ]
    ledger = books(
        *((f"job-{number}", event) for number, story in enumerate(stories) for event in story)
    )
    collections = [kept for kept in vars(ledger).values() if isinstance(kept, dict | set | list)]
    assert "job-" not in repr(collections)


@given(st.lists(lives(), max_size=4))
def test_spent_and_held_are_what_a_simple_model_says(
    histories: list[tuple[Job, list[JobEvent]]],
) -> None:
    """The model: each attempt has a price and a state, and the books are sums over attempts."""
    ledger = Ledger()
    attempts: dict[tuple[int, int], tuple[str, Decimal]] = {}
    for number, (_, events) in enumerate(histories):
        attempt = (number, 0)
        for event in events:
            ledger.apply(f"job-{number}", event)
            _, price = attempts.get(attempt, ("", Decimal(0)))
            match event:
                case Held():
                    attempt = (number, event.attempt)
                    attempts[attempt] = ("held", event.credits)
                case Prepared() | Accepted():
                    attempts[attempt] = ("held", event.credits)
                case HoldReleased() | Refused():
                    attempts.pop(attempt, None)
                case Succeeded() | JobLost():
                    attempts[attempt] = ("spent", price)
                case Failed():
                    attempts[attempt] = ("awaited", price)
                case Repriced():
                    attempts[attempt] = (attempts[attempt][0], max(price, event.credits))
                case _:
                    pass

            def total(state: str) -> Decimal:
                return sum(
                    (amount for found, amount in attempts.values() if found == state), Decimal(0)
                )

            assert ledger.jobs == total("spent")
            assert ledger.held == total("held") + total("awaited")
            assert (ledger.held_for_refunds, ledger.refunded) == (total("awaited"), 0)


def test_a_hold_entered_twice_counts_once() -> None:
    assert figures(books(("job", held("2")), ("job", held("2")))) == ("0", "2")


def test_no_answer_holds() -> None:
    assert figures(books(("job", held("2")), ("job", SubmitUnknown(at=0.0, error=ERROR)))) == (
        "0",
        "2",
    )


def test_an_image_is_paid_out_of_the_hold_of_its_job() -> None:
    ledger = books(("job", held("10", images=True)), ("asset:x", intended("10")))
    assert figures(ledger) == ("0", "10")
    ledger.apply("asset:x", created("0.5"))
    assert figures(ledger) == ("0.5", "9.5")
    ledger.apply("job", Prepared(at=0.0, credits=Decimal(2)))
    assert figures(ledger) == ("0.5", "2")


def test_an_image_that_was_not_bought_gives_its_hold_back_to_the_job() -> None:
    ledger = books(
        ("job", held("3")),
        ("asset:x", intended("0.5")),
        ("asset:x", NotCreated(at=0.0, error=ERROR)),
    )
    assert (figures(ledger), ledger.hold_of("job")) == (("0", "3"), Decimal(3))


def test_an_image_whose_job_has_gone_gives_its_hold_to_nobody() -> None:
    ledger = books(
        ("job", held("3")),
        ("asset:x", intended("0.5")),
        ("job", HoldReleased(at=0.0, error=ERROR)),
        ("asset:x", NotCreated(at=0.0, error=ERROR)),
    )
    assert ledger.held == 0


def test_a_rebate_comes_back_once() -> None:
    ledger = books(("job", held("3")), ("asset:x", intended("0.5")), ("asset:x", created("0.5")))
    ledger.apply("asset:x", Deleted(at=0.0, rebate=Decimal("0.4")))
    assert (ledger.uploads, ledger.rebates) == (Decimal("0.5"), Decimal("0.4"))
    assert ledger.spent == Decimal("0.1")


def test_an_upload_whose_answer_was_lost_counts_with_the_price_that_is_learned_later() -> None:
    ledger = books(
        ("job", held("10")), ("asset:x", intended("10")), ("asset:x", created("0", assumed=True))
    )
    ledger.apply("asset:x", Deleted(at=0.0, rebate=Decimal("0.2")))
    assert ledger.spent == 0
    ledger.apply("asset:x", intended("10"))
    ledger.apply("asset:x", created("0.25"))
    assert ledger.spent == Decimal("0.25") + Decimal("0.25") - Decimal("0.2")


def test_an_upload_that_is_nowhere_to_be_found_stays_held_at_the_price_of_one() -> None:
    ledger = books(
        ("job", held("10")), ("asset:x", intended("10")), ("asset:x", Lost(at=0.0, nonce="n"))
    )
    assert figures(ledger) == ("0", "10")
    ledger.apply("asset:x", intended("10"))
    ledger.apply("asset:x", created("0.5"))
    assert (ledger.lost_uploads, ledger.spent, ledger.hold_of("job")) == (
        1,
        Decimal("0.5"),
        Decimal("9.5"),
    )
    assert ledger.held == Decimal("9.5") + Decimal("0.5")


@pytest.mark.parametrize("ending", [Lost(at=0.0, nonce="n"), created("0.5", assumed=True)])
def test_an_upload_that_was_not_charged_counts_nothing(ending: AssetEvent) -> None:
    ledger = books(("job", held("10")), ("asset:y", intended("5")), ("asset:y", created("0.5")))
    story = [("job", held("10")), ("asset:x", intended("10")), ("asset:x", ending)]
    for subject, event in story:
        ledger.apply(subject, event)
    assert ledger.unpriced_uploads == 1
    before = ledger.hold_of("job")
    ledger.apply("asset:x", NotCharged(at=0.0, nonce="another"))
    assert ledger.unpriced_uploads == 1
    ledger.apply("asset:x", NotCharged(at=0.0, nonce="n"))
    assert (ledger.unpriced_uploads, ledger.spent, ledger.held) == (0, Decimal("0.5"), before)


def test_a_job_found_again_teaches_its_price_as_well() -> None:
    ledger = books(("job", held("10")), ("job", accepted_event(2, reused=True)))
    assert ledger.prices.expected(W) == 2


def deleted(rebate: str) -> Deleted:
    return Deleted(at=0.0, rebate=Decimal(rebate))


def told(ledger: Ledger) -> str:
    return "; ".join(f"{each.price_class} {each.held} {each.charged}" for each in ledger.surprises)


def priced(**known: str) -> PriceBook:
    """Prices that this run has learned, of uploads and of the workflow ``w``."""
    prices = PriceBook()
    for name, credits in known.items():
        prices.learn({"upload": UPLOAD, "job": W}[name], Decimal(credits))
    return prices


def with_prices(prices: PriceBook, *entries: tuple[str, Any]) -> Ledger:
    ledger = Ledger(prices)
    for subject, event in entries:
        ledger.apply(subject, event)
    return ledger


def test_new_books_are_empty_and_learn_into_the_prices_that_they_are_given() -> None:
    prices = PriceBook()
    ledger = Ledger(prices)
    assert ledger.prices is prices
    amounts = (
        ledger.spent,
        ledger.held,
        ledger.committed,
        ledger.refunded,
        ledger.reused,
        ledger.rebates,
    )
    assert amounts == (Decimal(0),) * 6
    counts = (
        ledger.assumed_uploads,
        ledger.lost_uploads,
        ledger.reused_assets,
        ledger.restored_with_images,
    )
    assert counts == (0, 0, 0, 0)
    assert (ledger.price_differs, ledger.repriced_jobs) == (0, 0)
    assert (ledger.surprises, ledger.holds(), ledger.hold_of("job")) == ((), {}, 0)


def test_what_is_committed_is_what_is_spent_and_what_is_held() -> None:
    ledger = books(
        ("job", held("2")), ("job", accepted("2")), ("job", SUCCEEDED), ("other", held("3"))
    )
    assert (ledger.spent, ledger.held, ledger.committed) == (2, 3, 5)
    assert ledger.holds() == {"other": 3}


def test_the_holds_that_are_told_stay_what_they_were() -> None:
    ledger = books(("job", held("2")))
    told_before = ledger.holds()
    ledger.apply("job", accepted("3"))
    assert (told_before, ledger.holds()) == ({"job": 2}, {"job": 3})


def test_a_hold_is_set_for_a_submit_that_is_sent_again_and_set_back() -> None:
    ledger = books(("job", held("2")), ("other", held("1")))
    ledger.set_hold("job", Decimal("3.5"), alone=True)
    assert (ledger.hold_of("job"), ledger.held, set(ledger.alone)) == (
        Decimal("3.5"),
        Decimal("4.5"),
        {"job"},
    )
    ledger.set_hold("job", Decimal(2), alone=False)
    assert (ledger.hold_of("job"), ledger.held, set(ledger.alone)) == (2, 3, set())


def test_what_was_raised_between_the_decision_and_the_entry_of_a_hold_stays_raised() -> None:
    ledger = Ledger()
    ledger.hold_ahead("job", held("2"))
    ledger.set_hold("job", Decimal(9), alone=False)
    ledger.apply("job", held("2"))
    assert (ledger.hold_of("job"), ledger.held) == (9, 9)


@each_case("end", [accepted("2"), REFUSED, DECLINED])
def test_one_that_was_admitted_alone_is_so_until_it_has_a_definite_answer(end: JobEvent) -> None:
    alone = replace(held("9"), alone=True)
    assert set(books(("job", alone), ("job", UNANSWERED)).alone) == {"job"}
    assert not books(("job", alone), ("job", end)).alone


@each_case("end", [created("2"), NOT_CREATED, LOST])
def test_an_upload_for_one_that_was_admitted_alone_is_so_until_it_has_a_definite_answer(
    end: AssetEvent,
) -> None:
    alone = replace(held("9"), alone=True)
    assert set(books(("job", alone), ("asset:x", intended("4"))).alone) == {"job", "asset:x"}
    assert set(books(("job", alone), ("asset:x", intended("4")), ("asset:x", end)).alone) == {"job"}


def test_a_price_is_that_of_the_shape_that_was_held_for() -> None:
    ledger = books(("job", replace(held("9"), shape="large")), ("job", accepted("7")))
    assert ledger.prices.expected(Shape("workflow:w", "large")) == 7
    ledger.apply("other", replace(held("9"), shape="small"))
    ledger.apply("other", accepted("2"))
    assert ledger.prices.expected(Shape("workflow:w", "small")) == 2


def test_an_upload_that_is_not_found_is_held_at_the_declared_ceiling_if_that_is_more() -> None:
    story = [("job", held("10")), ("asset:x", intended("1")), ("asset:x", Lost(at=0.0, nonce="n"))]
    ledger = with_prices(PriceBook(None, Decimal(1)), *story)
    assert (ledger.held, ledger.hold_of("job"), ledger.spent) == (10, 9, 0)
    assumed = [*story[:2], ("asset:x", created("0", assumed=True))]
    ledger = with_prices(PriceBook(None, Decimal(1)), *assumed)
    ledger.prices.learn(UPLOAD, Decimal("0.25"))
    assert (ledger.spent, ledger.held) == (Decimal("0.25"), 9 + Decimal("0.75"))


def test_the_gateways_own_figure_takes_the_place_of_the_hold() -> None:
    assert figures(books(("job", held("2")), ("job", accepted("1.5")))) == ("0", "1.5")


def test_a_price_is_learned_from_every_answer_also_from_one_about_an_earlier_purchase() -> None:
    def learned(event: Accepted) -> Decimal | None:
        return books(("job", held("2")), ("job", event)).prices.expected(W)

    assert learned(accepted("2")) == 2
    assert learned(accepted("2", reused=True)) == 2
    assert learned(accepted("2", earlier=True)) == 2


def test_an_upload_names_the_price_of_uploads() -> None:
    ledger = books(("job", held("10")), ("asset:x", intended("10")), ("asset:x", created("0.5")))
    assert ledger.prices.expected(UPLOAD) == Decimal("0.5")


def test_a_price_above_its_hold_is_a_surprise_and_of_each_class_the_worst_is_kept() -> None:
    ledger = Ledger()
    told_after = []
    for job, (hold, charge) in enumerate(
        (("2", "2"), ("2", "1"), ("2", "3"), ("2", "2.5"), ("1", "2"), ("1", "5"))
    ):
        ledger.apply(f"job-{job}", held(hold))
        ledger.apply(f"job-{job}", accepted(charge))
        told_after.append(told(ledger))
    assert told_after == ["", "", *["workflow:w 2 3"] * 3, "workflow:w 1 5"]
    ledger.apply("job-9", held("1", price_class="workflow:v"))
    ledger.apply("job-9", accepted("1.1"))
    assert set(ledger.surprises) == {
        PriceSurprise("workflow:w", Decimal(1), Decimal(5)),
        PriceSurprise("workflow:v", Decimal(1), Decimal("1.1")),
    }


def test_a_job_found_again_is_no_surprise_whatever_it_once_cost() -> None:
    assert books(("job", held("1")), ("job", accepted("5", reused=True))).surprises == ()


def repriced(credits: str) -> Repriced:
    return Repriced(at=0.0, credits=Decimal(credits))


def test_a_record_above_the_answer_raises_hold_and_price_and_is_a_surprise() -> None:
    ledger = books(("job", held("3")), ("job", accepted("1")), ("job", repriced("7")))
    assert figures(ledger) == ("0", "7")
    assert ledger.prices.expected(W) == 7
    assert ledger.surprises == (
        PriceSurprise("workflow:w", Decimal(1), Decimal(7), by_record=True),
    )
    assert (ledger.price_differs, ledger.repriced_jobs) == (6, 1)
    ledger.apply("job", SUCCEEDED)
    assert figures(ledger) == ("7", "0")


def test_a_record_below_the_answer_lowers_nothing_and_counts_as_a_difference() -> None:
    ledger = books(("job", held("3")), ("job", accepted("3")), ("job", repriced("1")))
    assert (figures(ledger), ledger.prices.expected(W), ledger.surprises) == (("0", "3"), 3, ())
    assert (ledger.price_differs, ledger.repriced_jobs) == (2, 1)


def test_a_record_that_rises_twice_is_one_job_and_the_whole_difference() -> None:
    ledger = books(
        ("job", held("3")), ("job", accepted("1")), ("job", repriced("7")), ("job", repriced("9"))
    )
    assert (figures(ledger), ledger.price_differs, ledger.repriced_jobs) == (("0", "9"), 8, 1)


def test_the_record_of_a_job_that_was_found_again_is_a_price_and_no_surprise() -> None:
    found = books(("job", held("1")), ("job", accepted("1", reused=True)), ("job", repriced("7")))
    assert (found.prices.expected(W), found.surprises) == (7, ())


def test_an_unknown_job_that_came_back_more_expensive_is_spent_at_its_records_price() -> None:
    story = [("job", held("2")), ("job", accepted("2")), ("job", VANISHED), ("job", repriced("7"))]
    assert figures(books(*story)) == ("7", "0")
    assert figures(books(*story, ("job", SUCCEEDED))) == ("7", "0")
    failed = books(*story, ("job", FAILED))
    assert (failed.jobs, failed.held_for_refunds) == (0, 7)


def test_an_upload_above_its_hold_is_a_surprise_and_its_payer_makes_up_for_it() -> None:
    ledger = books(("job", held("5")), ("asset:x", intended("3")), ("asset:x", created("4")))
    assert told(ledger) == "upload 3 4"
    assert (ledger.spent, ledger.hold_of("job"), ledger.held) == (4, 1, 1)


def test_a_payer_can_make_up_for_no_more_than_it_has() -> None:
    ledger = books(("job", held("5")), ("asset:x", intended("3")), ("asset:x", created("6")))
    assert (ledger.spent, ledger.hold_of("job"), ledger.held) == (6, 0, 0)


def test_what_is_left_of_an_images_hold_goes_back_once_and_to_its_own_payer() -> None:
    ledger = books(
        ("job", held("5")),
        ("other", held("5")),
        ("asset:x", intended("3")),
        ("asset:x", NOT_CREATED),
    )
    ledger.apply("asset:x", NOT_CREATED)
    assert ledger.holds() == {"job": 5, "other": 5}
    ledger.apply("asset:x", created("0.5"))
    assert ledger.holds() == {"job": 5, "other": 5}


def test_a_job_found_again_counts_as_reused_when_it_has_succeeded() -> None:
    ledger = books(("job", held("2")), ("job", accepted("2", reused=True)))
    assert ledger.reused == 0
    ledger.apply("job", SUCCEEDED)
    assert (ledger.reused, ledger.jobs) == (2, 2)
    for event in (held("3"), accepted("3", reused=True), SUCCEEDED):
        ledger.apply("other", event)
    assert (ledger.reused, ledger.jobs) == (5, 5)


def test_a_job_that_was_bought_is_not_reused_even_where_an_earlier_attempt_was() -> None:
    bought = [held("2"), accepted("2"), SUCCEEDED]
    again = [held("2"), accepted("2", reused=True), accepted("2"), SUCCEEDED]
    failed_first = [
        held("2"),
        accepted("2", reused=True),
        FAILED,
        held("2"),
        accepted("2"),
        SUCCEEDED,
    ]
    assert [
        books(*(("job", event) for event in story)).reused
        for story in (bought, again, failed_first)
    ] == [0, 0, 0]


def test_a_failed_job_is_held_until_its_refund_is_seen() -> None:
    ledger = books(("job", held("2")), ("job", accepted("2")), ("job", FAILED))
    assert (ledger.jobs, ledger.held, ledger.refunded) == (0, 2, 0)
    for event in (replace(held("2"), attempt=2), accepted("1.5"), FAILED):
        ledger.apply("job", event)
    assert (ledger.jobs, ledger.held, ledger.refunded) == (0, Decimal("3.5"), 0)
    ledger.apply("job", refunded("2"))
    assert (ledger.jobs, ledger.held, ledger.refunded) == (0, Decimal("1.5"), 2)
    ledger.apply("job", refunded("1.5", attempt=2))
    assert (ledger.jobs, ledger.held, ledger.refunded) == (0, 0, Decimal("3.5"))


def test_a_job_that_nobody_knows_is_spent_until_it_is_found_to_have_failed() -> None:
    story = [("job", held("2")), ("job", accepted("2")), ("job", VANISHED)]
    assert figures(books(*story)) == ("2", "0")
    found_done, found_failed = books(*story, ("job", SUCCEEDED)), books(*story, ("job", FAILED))
    assert (found_done.jobs, found_done.refunded) == (2, 0)
    assert (found_failed.jobs, found_failed.held_for_refunds) == (0, 2)
    lost_twice = books(*story, ("job", VANISHED), ("job", FAILED))
    assert (lost_twice.jobs, lost_twice.held_for_refunds) == (0, 2)
    # What was settled is not settled again.
    again = books(
        *story, ("job", SUCCEEDED), ("job", held("1")), ("job", accepted("1")), ("job", FAILED)
    )
    assert (again.jobs, again.held_for_refunds) == (2, 1)


def test_jobs_that_continue_without_their_images_and_images_found_again_are_counted() -> None:
    with_image = Prepared(at=0.0, credits=Decimal(2), assets={"x": "asset-1"})
    without = Prepared(at=0.0, credits=Decimal(2), assets={})
    ledger = books(
        *((job, held("2", images=True)) for job in "abc"),
        ("a", with_image),
        ("b", without),
        ("c", without),
    )
    assert ledger.restored_with_images == 2
    found = Found(at=0.0, asset_id="asset-1")
    assert books(("asset:x", found), ("asset:y", found)).reused_assets == 2


def test_an_upload_whose_answer_was_lost_costs_its_payer_the_bound_of_one() -> None:
    story = [
        ("job", held("10")),
        ("asset:x", intended("3")),
        ("asset:x", created("0", assumed=True)),
    ]
    by_price = {price: with_prices(priced(upload=price), *story) for price in ("0.125", "3", "4")}
    assert {price: ledger.hold_of("job") for price, ledger in by_price.items()} == {
        "0.125": 8,
        "3": 7,
        "4": 7,
    }
    assert [ledger.uploads for ledger in by_price.values()] == [Decimal("0.125"), 3, 4]
    unknown = books(*story)
    assert (unknown.hold_of("job"), unknown.uploads, unknown.assumed_uploads) == (10, 0, 1)
    assert unknown.prices.expected(UPLOAD) is None


def test_the_rebate_of_an_upload_whose_answer_was_lost_counts_once_a_price_is_known() -> None:
    story = [
        ("job", held("10")),
        ("asset:x", intended("3")),
        ("asset:x", created("0", assumed=True)),
    ]
    ledger = books(*story, ("asset:x", deleted("0.2")))
    assert (ledger.uploads, ledger.rebates, ledger.spent) == (0, 0, 0)
    dear = with_prices(priced(upload="0.5"), *story, ("asset:x", deleted("0.2")))
    assert (dear.uploads, dear.spent) == (Decimal("0.5"), Decimal("0.3"))


def test_a_rebate_says_something_of_its_own_upload_alone() -> None:
    lost = created("0", assumed=True)
    both = [("job", held("10")), ("asset:x", intended("1")), ("asset:x", lost)]
    both += [("asset:y", intended("1")), ("asset:y", lost)]
    ledger = with_prices(priced(upload="0.5"), *both, ("asset:y", deleted("0.2")))
    assert (ledger.assumed_uploads, ledger.uploads, ledger.rebates) == (2, 1, Decimal("0.2"))
    # The same image, lost once more: its rebate is the second upload's, and the first's stays what
    # it was.
    for event in (intended("1"), lost, deleted("0.3")):
        ledger.apply("asset:y", event)
    assert (ledger.assumed_uploads, ledger.uploads, ledger.rebates) == (
        3,
        Decimal("1.5"),
        Decimal("0.5"),
    )


def test_uploads_that_are_nowhere_to_be_found_are_held_at_their_bound() -> None:
    story = [("job", held("10"))]
    story += [("asset:x", intended("1")), ("asset:x", LOST)] * 2
    assert (books(*story).lost_uploads, books(*story).held) == (2, 10)
    # Where there is no budget less than the bound is held for an upload: one that is lost counts at
    # the bound.
    assert with_prices(priced(upload="0.5"), *story).held == 8 + 2 * 8


def test_uploads_add_up_and_what_becomes_of_them_later_costs_nothing() -> None:
    ledger = books(("job", held("10")), ("asset:x", intended("1")), ("asset:x", created("0.5")))
    for event in (Uploaded(at=0.0), BecameReady(at=0.0)):
        ledger.apply("asset:x", event)
    assert (ledger.uploads, ledger.hold_of("job")) == (Decimal("0.5"), Decimal("9.5"))
    for event in (intended("1"), created("0.75")):
        ledger.apply("asset:y", event)
    assert (ledger.uploads, ledger.hold_of("job")) == (Decimal("1.25"), Decimal("8.75"))


# -- uploads whose price nobody named, and rebates


def unanswered_upload(
    end: AssetEvent, hold: str = "8", alone: bool = False
) -> list[tuple[str, Any]]:
    return [
        ("job", replace(held("30"), alone=alone)),
        ("asset:x", intended(hold)),
        ("asset:x", end),
    ]


NO_FIGURE = pytest.mark.parametrize(
    "end", [LOST, created("0", assumed=True)], ids=["lost", "found in the list"]
)


@NO_FIGURE
def test_an_upload_without_a_figure_keeps_counting_at_the_bound_that_it_was_held_at(
    end: AssetEvent,
) -> None:
    ledger = with_prices(priced(upload="0.5"), *unanswered_upload(end))
    assert (ledger.committed, ledger.hold_of("job"), ledger.held_for_uploads + ledger.uploads) == (
        30,
        22,
        8,
    )


@NO_FIGURE
def test_a_price_seen_later_moves_the_bound_of_an_upload_only_where_it_is_higher(
    end: AssetEvent,
) -> None:
    ledger = with_prices(priced(upload="0.5"), *unanswered_upload(end))
    ledger.prices.learn(UPLOAD, Decimal(6))
    assert ledger.committed == 30
    ledger.prices.learn(UPLOAD, Decimal(9))
    assert ledger.committed == 31


@NO_FIGURE
def test_a_declared_ceiling_counts_an_upload_without_a_figure_at_that(end: AssetEvent) -> None:
    prices = priced(upload="0.5")
    prices.upload_ceiling = Decimal(2)
    ledger = with_prices(prices, *unanswered_upload(end))
    assert ledger.held_for_uploads + ledger.uploads == 2


@NO_FIGURE
@pytest.mark.parametrize("ceiling", [None, "1", "9"])
def test_an_upload_held_by_a_declared_ceiling_counts_at_that_whatever_is_declared_later(
    end: AssetEvent, ceiling: str | None
) -> None:
    prices = PriceBook(upload_ceiling=None if ceiling is None else Decimal(ceiling))
    ledger = with_prices(
        prices, ("job", held("30")), ("asset:x", intended("5", maximum="5")), ("asset:x", end)
    )
    assert ledger.held_for_uploads + ledger.uploads == 5
    ledger.prices.learn(UPLOAD, Decimal(6))
    assert ledger.held_for_uploads + ledger.uploads == 6


@NO_FIGURE
def test_an_upload_that_was_alone_keeps_no_more_than_the_budget_had_left(end: AssetEvent) -> None:
    ledger = with_prices(priced(upload="0.5"), *unanswered_upload(end, hold="5", alone=True))
    assert (ledger.committed, ledger.hold_of("job")) == (30, 25)


@NO_FIGURE
def test_a_free_upload_bounds_nothing_so_those_without_a_figure_are_uncounted(
    end: AssetEvent,
) -> None:
    ledger = with_prices(priced(upload="0"), *unanswered_upload(end), *unanswered_upload(end)[1:])
    assert ledger.uncounted_uploads == 2


def test_eight_uploads_without_a_figure_count_at_eight_bounds() -> None:
    """0.5 was seen, each may have cost 16 times that; what the budget has left is what the first
    eight leave."""
    ledger = with_prices(priced(upload="0.5"), ("job", held("100")))
    for number in range(8):
        for event in (intended("8"), LOST if number % 2 else created("0", assumed=True)):
            ledger.apply(f"asset:{number}", event)
    assert (
        ledger.committed,
        ledger.hold_of("job"),
        ledger.lost_uploads,
        ledger.assumed_uploads,
    ) == (100, 36, 4, 4)


@each_case("rebate, counts", [("0.4", "0.4"), ("0.5", "0.5"), ("1000", "0.5")])
def test_a_rebate_counts_at_most_what_its_upload_was_charged(rebate: str, counts: str) -> None:
    ledger = books(("job", held("3")), ("asset:x", intended("1")), ("asset:x", created("0.5")))
    ledger.apply("asset:x", deleted(rebate))
    assert (ledger.rebates, ledger.spent) == (Decimal(counts), Decimal("0.5") - Decimal(counts))


def test_the_rebate_of_an_image_of_another_directory_counts_nothing() -> None:
    found = Found(at=0.0, asset_id="a")
    ledger = books(("asset:x", found), ("asset:x", deleted("20")))
    assert (ledger.rebates, ledger.spent) == (0, 0)
    # Nor where this directory once was charged for the same image, and has had that back.
    story = [
        ("asset:x", each)
        for each in (intended("1"), created("0.5"), deleted("0.5"), found, deleted("0.5"))
    ]
    assert (books(*story).rebates, books(*story).spent) == (Decimal("0.5"), 0)


def test_the_rebate_of_an_upload_without_a_figure_frees_at_most_the_price_that_was_seen() -> None:
    ledger = with_prices(priced(upload="0.5"), *unanswered_upload(created("0", assumed=True)))
    ledger.apply("asset:x", deleted("1000"))
    assert (ledger.spent, ledger.held_for_uploads) == (0, Decimal("7.5"))


def test_the_rebate_of_an_image_that_was_found_at_the_gateway_raises_no_budget() -> None:
    """What this directory was charged for an earlier asset of the image is not what comes back for
    the found one."""
    ledger = Ledger()
    ledger.apply(
        "j",
        held_event(9, images=True),
    )
    ledger.apply("asset:x", intended_event(5, "j"))
    ledger.apply("asset:x", Created(at=1.0, asset_id="a", credits=Decimal(5)))
    ledger.apply("asset:x", Found(at=2.0, asset_id="b"))
    ledger.apply("asset:x", Deleted(at=3.0, rebate=Decimal(5)))
    assert (ledger.rebates, ledger.spent) == (0, 5)
