"""A plan's prices by shape, and by how much its budget may be exceeded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path

from crucible_batch.core.gateway_types import AssetSpec
from crucible_batch.core.job import Job
from crucible_batch.core.ledger import Ledger
from crucible_batch.core.plan import InputImage, PlannedJob
from crucible_batch.core.prices import UPLOAD, Certainty, PriceBook, shape_of
from crucible_batch.runs.plan_rows import PlanCounts, PriceLine, price_lines, starts_of
from crucible_batch.runs.plan_summary import PlanSummary
from crucible_batch.runs.request import JobFilter
from tests.harness.case_table import each_case
from tests.harness.job_events import held_event
from tests.harness.replacing import replace

D = Decimal


def job(number: int, width: int = 512, **params: object) -> PlannedJob:
    named = {"prompt.text": f"p {number}", "size.width": width, "sampler.steps": 20, **params}
    return PlannedJob(number, f"{number}", f"j{number}", "w", named, prompt=f"p {number}")


def tallied(jobs: Iterable[PlannedJob]) -> PlanCounts:
    tally = PlanCounts(JobFilter())
    list(tally.counting((planned, Job(planned.identity)) for planned in jobs))
    return tally


def lines_of(prices: PriceBook, tally: PlanCounts, to_upload: int) -> Iterator[PriceLine]:
    """Return the price lines of a plan of which each job may be admitted."""
    return price_lines(prices, tally, to_upload, tally.to_buy.keys())


def test_a_workflow_has_a_line_for_each_shape_with_the_parameters_that_differ() -> None:
    jobs = [job(1), job(2), job(3, 1024)]
    prices = PriceBook()
    prices.learn(shape_of(jobs[0]), D(2))
    small, large = lines_of(prices, tallied(jobs), 0)
    assert (small.what, small.count, small.params, small.each, small.bound) == (
        "w",
        2,
        {"size.width": 512},
        2,
        32,
    )
    assert (large.count, large.params, large.each) == (1, {"size.width": 1024}, 2)
    prices.learn(shape_of(jobs[2]), D(16))
    assert [line.each for line in lines_of(prices, tallied(jobs), 0)] == [2, 16]


def test_one_shape_needs_no_parameters_to_tell_it_and_many_have_one_line() -> None:
    (only,) = lines_of(PriceBook(), tallied([job(1), job(2)]), 0)
    assert only.params == {}
    (many,) = lines_of(PriceBook(D(4)), tallied(job(number, number) for number in range(1, 30)), 0)
    assert (many.count, many.params, many.certainty, many.bound) == (29, {}, Certainty.BOUNDED, 4)


def test_uploads_are_a_line_of_their_own() -> None:
    prices = PriceBook(None, D(1))
    prices.learn(UPLOAD, D("0.5"))
    *_, uploads = lines_of(prices, tallied([job(1)]), 3)
    assert (uploads.what, uploads.count, uploads.each, uploads.bound) == ("uploads", 3, D("0.5"), 1)


def line(what: str, each: str | None, *, ceiling: str | None = None) -> PriceLine:
    price, most = each and D(each), ceiling and D(ceiling)
    bound = most or (16 * price if price else None)
    return PriceLine(what, 1, Certainty.LEARNED, price, most, bound)  # type: ignore[arg-type]


@each_case(
    "lines, budget, images, beyond",
    [
        ([line("w", "2")], "10", 0, "30"),
        ([line("w", "2"), line("v", "3")], "10", 0, "45"),
        ([line("w", "2", ceiling="4")], "10", 0, "0"),
        ([line("w", "2", ceiling="4"), line("uploads", "0.5")], "10", 2, "15"),
        ([line("w", "2"), line("uploads", "0.5")], "10", 2, "45"),
        ([line("w", "2", ceiling="4"), line("uploads", "0.5", ceiling="1")], "10", 2, "0"),
        ([line("w", None)], "10", 0, None),
        ([line("w", "0")], "10", 0, None),
        ([line("w", None, ceiling="4"), line("uploads", None)], "10", 1, None),
        ([line("w", None)], None, 0, "0"),
        ([], "10", 0, "0"),
    ],
)
def test_a_budget_may_be_exceeded_by_one_job_that_goes_alone_and_by_none_under_ceilings(
    lines: list[PriceLine], budget: str | None, images: int, beyond: str | None
) -> None:
    assert plan_of(lines, budget, images).may_exceed == (beyond and D(beyond))


def test_only_what_can_still_be_admitted_may_exceed_the_budget() -> None:
    dear, cheap = replace(line("w", "8"), can_start=False), line("v", "2")
    assert plan_of([dear, cheap], "5", 0).may_exceed == 30
    assert plan_of([dear, line("uploads", "0.5")], "5", 1).may_exceed == 0
    assert plan_of([replace(line("w", None), can_start=False)], "5", 0).may_exceed == 0


def plan_of(lines: list[PriceLine], budget: str | None, images: int) -> PlanSummary:
    return PlanSummary(
        manifest_name="m",
        run_id="default",
        run_dir=Path("out"),
        total=1,
        states={},
        lines=tuple(lines),
        to_upload=images,
        reused_images=None,
        budget=budget and D(budget),  # type: ignore[arg-type]
        spent=D(0),
        held=D(0),
        balance=None,
        uploads_per_job=images,
    )


def books(
    *, seen: str | None = None, held: str | None = None, ceiling: str | None = None
) -> Ledger:
    ledger = Ledger(PriceBook(ceiling and D(ceiling), D(1)))  # type: ignore[arg-type]
    if seen is not None:
        ledger.prices.learn(shape_of(job(1)), D(seen))
    if held is not None:
        ledger.apply("x", held_event(held))
    return ledger


@each_case(
    "ledger, budget, message",
    [
        (books(seen="2"), "2", None),
        (books(seen="2"), "1", "0 of 1 credits used; the next job needs 2"),
        (books(), "0", "0 of 0 credits used; the next job needs more than 0"),
        (
            books(ceiling="50"),
            "20",
            "0 of 20 credits used; the next job may cost up to 50, its declared ceiling",
        ),
        (books(ceiling="50"), None, None),
        (
            books(seen="5", ceiling="4"),
            None,
            "a job on w costs 5 credits, above max_credits_per_job (4)",
        ),
        (books(seen="2", held="3"), "3", None),
        (
            books(seen="2", held="3"),
            "1",
            "3 of 1 credits used (3 of them held); the next job needs 2",
        ),
    ],
)
def test_a_plan_knows_why_no_job_can_start_though_all_that_is_held_came_back(
    ledger: Ledger, budget: str | None, message: str | None
) -> None:
    starts = starts_of(
        tallied([job(1), job(2)]), ledger, budget and D(budget), no_image_is_there=True
    )  # type: ignore[arg-type]
    assert (starts.blocked and starts.blocked.message) == message
    assert starts.shapes == (frozenset() if message else {shape_of(job(1))})
    if message and budget and ledger.held:
        assert starts.blocked is not None
        hint = (
            "raise the budget and run the same command again; completed jobs are not paid for again"
        )
        assert starts.blocked.hint == hint


def test_a_job_that_must_upload_its_images_needs_credits_for_them_too() -> None:
    image = InputImage(AssetSpec("0" * 64, 1, "image/png", "a.png"), Path("a.png"))
    with_image = tallied([replace(job(1), images={"image": image})])
    blocked = starts_of(with_image, books(seen="2"), D(2), no_image_is_there=True).blocked
    assert blocked is not None
    assert blocked.message.endswith("the next job needs 3")
    assert starts_of(with_image, books(seen="2"), D(2), no_image_is_there=False).blocked is None
    # The image may be uploaded with a job that fits, and then the others need none.
    both = tallied([replace(job(1, 1024), images={"image": image}), job(2)])
    assert starts_of(both, books(seen="2"), D(2), no_image_is_there=True).shapes == set(both.to_buy)


def test_a_more_expensive_shape_that_does_not_fit_is_told_from_one_that_does() -> None:
    ledger = books(seen="2")
    ledger.prices.learn(shape_of(job(2, 1024)), D(8))
    tally = tallied([job(2, 1024), job(1)])
    starts = starts_of(tally, ledger, D(5), no_image_is_there=True)
    assert (starts.blocked, starts.shapes) == (None, {shape_of(job(1))})
    assert [line.can_start for line in price_lines(ledger.prices, tally, 1, starts.shapes)] == [
        False,
        True,
        True,
    ]
