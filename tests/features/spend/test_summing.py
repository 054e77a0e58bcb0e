"""Charges of several runs, summed up by month, workflow or tag."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

from crucible_batch.core.prices import UPLOAD, Shape
from crucible_batch.features.spend.charges import Charge
from crucible_batch.features.spend.options import SpendBy
from crucible_batch.features.spend.reading import RunSpending
from crucible_batch.features.spend.summing import GatewaySums
from crucible_batch.journal import Binding

BERLIN = ZoneInfo("Europe/Berlin")
LAST_HOUR = datetime(2026, 10, 31, 23, 30, tzinfo=UTC)
"""In Berlin, it is November already."""
W, V = Shape("workflow:w", "1"), Shape("workflow:v")


def charge(
    credits: str, *, shape: Shape = W, at: datetime = LAST_HOUR, refunded: str = "0", day: int = 0
) -> Charge:
    moment = at.timestamp() + day * 86_400
    return Charge(moment, shape, "j", Decimal(credits), Decimal(refunded))


def run(name: str, *charges: Charge, tags: tuple[str, ...] = ()) -> RunSpending:
    return RunSpending(name, Binding("spring", name, "https://g"), tags, charges)


def sums(by: SpendBy, *runs: RunSpending, zone: tzinfo = UTC) -> GatewaySums:
    found = GatewaySums("https://g", by, zone)
    for each in runs:
        found.add(each)
    return found


def shown(found: GatewaySums) -> list[tuple[str | None, str, int]]:
    return [(key, str(each.credits), len(each.runs)) for key, each in found.sums()]


def test_months_are_those_of_the_time_zone() -> None:
    runs = (run("a", charge("3"), charge("4", day=1)), run("b", charge("5", day=1)))
    assert shown(sums(SpendBy.MONTH, *runs)) == [("2026-10", "3", 1), ("2026-11", "9", 2)]
    assert shown(sums(SpendBy.MONTH, *runs, zone=BERLIN)) == [("2026-11", "12", 2)]


def test_workflows_are_in_the_order_of_what_they_cost() -> None:
    found = sums(
        SpendBy.WORKFLOW,
        run("a", charge("3"), charge("4", shape=V), charge("1", shape=UPLOAD), charge("2")),
    )
    assert shown(found) == [("w", "5", 1), ("v", "4", 1), ("upload", "1", 1)]
    assert (found.total.jobs, found.total.uploads) == (3, 1)


def test_a_run_with_several_tags_counts_in_each_and_once_in_the_total() -> None:
    found = sums(
        SpendBy.TAG, run("a", charge("3"), tags=("x", "y")), run("b", charge("1")),
        run("c", charge("4"), tags=("y",)),
    )  # fmt: skip
    assert shown(found) == [("y", "7", 2), ("x", "3", 1), (None, "1", 1)]
    assert found.total.credits == 8


def test_a_job_that_was_refunded_counts_no_more() -> None:
    found = sums(
        SpendBy.MONTH,
        run("a", charge("3", refunded="3"), charge("3", refunded="1"), charge("0")),
    )
    assert (found.total.credits, found.total.refunded, found.total.jobs) == (2, 4, 2)


def test_the_newest_change_of_each_price_is_shown() -> None:
    runs = (
        run("a", charge("2"), charge("2", day=1), charge("3", day=2), charge("3", day=5)),
        run("b", charge("3", day=3), charge("1.5", day=6), charge("9", shape=V, day=9)),
        run("c", charge("1.5", day=7), charge("4", shape=Shape("workflow:w", "2"), day=4)),
    )
    (found,) = sums(SpendBy.MONTH, *runs).price_changes()
    assert found.shape == W  # other parameters have a price of their own
    assert (found.before, found.after, found.changes) == (3, Decimal("1.5"), 2)
    assert (found.run, found.at) == ("spring/b", LAST_HOUR.timestamp() + 6 * 86_400)


def test_a_price_that_stays_is_not_mentioned() -> None:
    assert sums(SpendBy.TAG, run("a", charge("2"), charge("2", day=3))).price_changes() == []
