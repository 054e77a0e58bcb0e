"""A plan's prices by shape, and by how much its budget may be exceeded."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import pytest

from crucible_batch.api import Certainty, PlanSummary, PriceLine
from crucible_batch.api.plan_rows import Tally, price_lines
from crucible_batch.domain.job import Job
from crucible_batch.domain.plan import PlannedJob
from crucible_batch.domain.prices import UPLOAD, PriceBook, shape_of

D = Decimal


def job(number: int, width: int = 512, **params: object) -> PlannedJob:
    named = {"prompt.text": f"p {number}", "size.width": width, "sampler.steps": 20, **params}
    return PlannedJob(number, f"{number}", f"j{number}", "w", named, prompt=f"p {number}")


def tallied(jobs: Iterable[PlannedJob]) -> Tally:
    tally = Tally(retry_failed=False)
    list(tally.counting((planned, Job(planned.identity)) for planned in jobs))
    return tally


def test_a_workflow_has_a_line_for_each_shape_with_the_parameters_that_differ() -> None:
    jobs = [job(1), job(2), job(3, 1024)]
    prices = PriceBook()
    prices.learn(shape_of(jobs[0]), D(2))
    small, large = price_lines(prices, tallied(jobs), 0)
    assert (small.what, small.count, small.params, small.each, small.bound) == ("w", 2, {"size.width": 512}, 2, 32)
    assert (large.count, large.params, large.each) == (1, {"size.width": 1024}, 2)
    prices.learn(shape_of(jobs[2]), D(16))
    assert [line.each for line in price_lines(prices, tallied(jobs), 0)] == [2, 16]


def test_one_shape_needs_no_parameters_to_tell_it_and_many_have_one_line() -> None:
    (only,) = price_lines(PriceBook(), tallied([job(1), job(2)]), 0)
    assert only.params == {}
    (many,) = price_lines(PriceBook(D(4)), tallied(job(number, number) for number in range(1, 30)), 0)
    assert (many.count, many.params, many.certainty, many.bound) == (29, {}, Certainty.BOUNDED, 4)


def test_uploads_are_a_line_of_their_own() -> None:
    prices = PriceBook(None, D(1))
    prices.learn(UPLOAD, D("0.5"))
    *_, uploads = price_lines(prices, tallied([job(1)]), 3)
    assert (uploads.what, uploads.count, uploads.each, uploads.bound) == ("uploads", 3, D("0.5"), 1)


def line(what: str, each: str | None, *, ceiling: str | None = None) -> PriceLine:
    price, most = each and D(each), ceiling and D(ceiling)
    bound = most or (16 * price if price else None)
    return PriceLine(what, 1, Certainty.LEARNED, price, most, bound)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lines", "budget", "images", "beyond"),
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
    plan = PlanSummary(
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
    assert plan.may_exceed == (beyond and D(beyond))
