"""The question before a run without a budget: what it asks consent for."""

from dataclasses import replace
from decimal import Decimal as D
from pathlib import Path

from crucible_batch.cli.run_session import _question
from crucible_batch.core.prices import Certainty
from crucible_batch.runs.plan_rows import UPLOADS, PriceLine
from crucible_batch.runs.plan_summary import PlanSummary
from tests.harness.case_table import each_case

LEARNED = PriceLine("w", 10, Certainty.LEARNED, D(2), bound=D(32))
DECLARED = PriceLine("w", 10, Certainty.BOUNDED, D(4), ceiling=D(4), bound=D(4))
UNKNOWN = PriceLine("v", 10, Certainty.UNKNOWN, None)
REST = "at most 99852 credits, the entire balance?"


def summary(*lines: PriceLine, balance: D | None = D(99852)) -> PlanSummary:
    none = D(0)
    return PlanSummary("m", "r", Path("out"), 10, {}, lines, 0, 0, None, none, none, balance)


@each_case(
    "lines, question",
    [
        ([], "Spend up to 0 credits?"),
        ([DECLARED], "Spend up to 40 credits?"),
        ([LEARNED], f"Spend about 20 credits at the last known prices, and {REST}"),
        (
            [LEARNED, UNKNOWN, replace(UNKNOWN, what=UPLOADS)],
            f"Spend about 20 credits at the last known prices, more for v and uploads, and {REST}",
        ),
        ([UNKNOWN], "Spend up to 99852 credits, the entire balance?"),
    ],
)
def test_consent_is_asked_for_what_the_plan_estimates(
    lines: list[PriceLine], question: str
) -> None:
    assert _question(summary(*lines)) == question


def test_consent_without_a_balance_names_no_amount() -> None:
    assert _question(summary(UNKNOWN, balance=None)) == "Spend up to the entire balance?"
