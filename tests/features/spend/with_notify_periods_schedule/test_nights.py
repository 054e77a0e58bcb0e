"""What ``spend`` shows after thirty nights is what the ledger of the gateway has."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from pathlib import Path

import pytest

from crucible_batch.features.spend.options import SpendBy
from crucible_batch.features.spend.places import RunPlaces
from crucible_batch.features.spend.reading import RunSpending, read_spending
from crucible_batch.features.spend.summing import GatewaySums
from tests.verification.nights.calendar import BERLIN
from tests.verification.nights.judge import judge
from tests.verification.nights.play import Story, play
from tests.verification.nights.scenario import Scenario, around, few_nights, turn_of_the_month


def by_ledger(story: Story, zone: tzinfo) -> dict[str, Decimal]:
    """Return what the gateway's own ledger has charged in each month; refunds belong to their
    charges.
    """
    months: dict[str | None, str] = {}
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for entry in story.entries:
        subject = entry.job_id or entry.asset_id
        if entry.entry_type in {"reserve", "upload"}:
            months[subject] = f"{datetime.fromtimestamp(entry.created_at, zone):%Y-%m}"
            sums[months[subject]] += entry.amount
        elif entry.entry_type in {"refund", "rebate"}:
            sums[months[subject]] -= entry.amount
    return dict(sums)


def spent(base: Path, zone: tzinfo, by: SpendBy = SpendBy.MONTH) -> GatewaySums:
    sums = GatewaySums("", by, zone)
    for found in read_spending(RunPlaces.known(base / "outputs").paths):
        assert isinstance(found, RunSpending), found
        sums.add(found)
    return sums


def check(story: Story, base: Path) -> None:
    assert judge(story) == []
    for zone in (UTC, BERLIN):
        found = {key: each.credits for key, each in spent(base, zone).sums()}
        assert found == by_ledger(story, zone)
    kept = [job for job in story.jobs if job.error_code is None]
    by_workflow = spent(base, UTC, SpendBy.WORKFLOW)
    assert by_workflow.total.jobs == len(kept)
    assert by_workflow.unanswered == 0
    assert {key for key, _ in by_workflow.sums()} == {job.workflow_id for job in story.jobs}


def test_the_months_are_those_of_the_ledger_after_few_nights(tmp_path: Path) -> None:
    check(play(few_nights(), tmp_path), tmp_path)


def thirty_nights(change: date, seed: int) -> Scenario:
    return around(change, seed, before=17, after=13)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "seed"),
    [(date(2026, 3, 29), 0), (date(2026, 3, 29), 1), (date(2026, 10, 25), 2)],
    ids=str,
)
def test_the_months_are_those_of_the_ledger_after_thirty_nights(
    change: date, seed: int, tmp_path: Path
) -> None:
    scenario = thirty_nights(change, seed)
    assert (scenario.end - scenario.begin).days == 30
    story = play(scenario, tmp_path)
    check(story, tmp_path)
    sums = spent(tmp_path, UTC)
    assert len(sums.sums()) == 2
    assert sums.total.refunded > 0
    (change_of_price,) = sums.price_changes()
    assert change_of_price.shape.name == "zimage-base"
    assert (change_of_price.before, change_of_price.after) == (3, Decimal("1.5"))
    assert change_of_price.changes == 2


@pytest.mark.slow
def test_a_night_over_the_end_of_a_month_has_each_charge_in_its_own(tmp_path: Path) -> None:
    check(play(turn_of_the_month(), tmp_path), tmp_path)
