"""What a plan prints of the costs of its next stages."""

from dataclasses import replace
from decimal import Decimal

from crucible_batch.core.prices import Certainty
from crucible_batch.runs.later_jobs import NextStage
from crucible_batch.runs.plan_rows import PriceLine
from crucible_batch.runs.plan_summary import StagePreview
from tests.integration.cli.test_plan import UNPRICED, printed, summary


def staged(budget: int, *later: PriceLine, first: PriceLine, balance: int | None = None) -> str:
    """Print a plan whose next stage has these prices; 2 credits are spent."""
    stage = NextStage(name="final", sources="draft*", jobs=6, shapes={}, uploads=6)
    plan = replace(summary(budget, first), stages=(StagePreview(stage, later),))
    return printed(plan if balance is None else replace(plan, balance=Decimal(balance)))


def test_a_shortfall_and_what_is_left_of_the_account_count_the_next_stages() -> None:
    first = PriceLine("w", 6, Certainty.BOUNDED, Decimal(3), Decimal(3))
    later = (
        PriceLine("up", 6, Certainty.BOUNDED, Decimal(3), Decimal(3)),
        replace(first, what="uploads", count=5),
    )
    told = staged(10, *later, first=first, balance=100)
    assert "up (at most 3 credits each), 5 uploads (at most 3 credits each)" in told
    assert (
        "10 credits; 2 spent or held by earlier runs; with the next stages it may fall short by up"
        " to 43: the" in told
    )
    assert "with the next stages it may fall short by up to 1: the run stops there" in staged(
        52, *later, first=first
    )
    assert "100 credits → 49 to 100 afterwards" in staged(60, *later, first=first, balance=100)
    assert "fall short" not in staged(53, *later, first=first)


def test_a_shortfall_of_the_first_stage_stays_certain_beside_that_of_the_next() -> None:
    first = PriceLine("w", 6, Certainty.LEARNED, Decimal(2))
    later = (PriceLine("up", 6, Certainty.LEARNED, Decimal(3)), UNPRICED)
    told = staged(10, *later, first=first)
    assert "up (3 credits each), 9 uploads (price not known yet)" in told
    assert (
        "; falls short by 4 or more, and with the next stages it may fall short by 22 or more: the"
        " run stops" in told
    )
    assert "; with the next stages it may fall short by 2 or more: the run stops there" in staged(
        30, *later, first=first
    )
    seen = PriceLine("w", 120, Certainty.LEARNED, Decimal(4))
    assert "falls short by 382 or more" in printed(summary(100, seen, UNPRICED))
