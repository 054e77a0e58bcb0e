"""The question before a run without a budget: the prices that earlier runs paid are what it asks
consent for.
"""

from dataclasses import replace
from decimal import Decimal as D

from crucible_batch.cli.run_session import _question
from crucible_batch.features.prices.price_memory import PaidPrice
from tests.unit.cli.test_consent import REST, UNKNOWN, summary

PAID = PaidPrice("workflow:w", "", D(3), 0.0, "before · default")


def test_consent_is_asked_for_what_an_earlier_run_paid() -> None:
    asked = f"Spend about 30 credits at the last known prices, and {REST}"
    assert _question(summary(replace(UNKNOWN, paid=PAID))) == asked
