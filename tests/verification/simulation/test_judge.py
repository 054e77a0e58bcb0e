"""The judge is judged: it must catch each planted bug within a few seeds."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from crucible_batch.domain import budget
from crucible_batch.engine import admission
from tests.verification.simulation.bugs import RARE, SEEDS_ALLOWED, bugs, first_seed, planted
from tests.verification.simulation.play import play_out
from tests.verification.simulation.scenario import invent
from tests.verification.simulation.soak import play_all, workshop

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("bug", bugs())
def test_a_planted_bug_is_caught(bug: str) -> None:
    first = first_seed(bug)
    with planted(bug):
        total = play_all(range(first, first + SEEDS_ALLOWED))
    # A plant that no longer fits where it is put breaks every run, which shows nothing of the judge.
    assert not any("TypeError" in text or "AttributeError" in text for text in total.broken), total.broken[0]
    assert total.broken != [], f"{SEEDS_ALLOWED} seeds from {first} on didn't show that there is {bug}"


def test_enough_bugs_are_planted_to_tell() -> None:
    assert len(bugs()) >= 24


def test_without_a_planted_bug_the_same_seeds_hold() -> None:
    assert play_all([*range(70), *RARE.values()]).broken == []


_ONE_ALONE_IN_DOUBT = 595
"""At the end of this seed one job that went alone is in doubt for good, and three others may only go alone as well."""


@pytest.mark.parametrize(
    ("credits", "fit"),
    [("2.9", ()), ("14.7", ("job-2", "job-5", "job-6"))],
)
def test_one_alone_in_doubt_excuses_those_only_whose_bound_does_not_fit(
    credits: str, fit: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = budget.decide_admission

    def too_careful(request: Any, ledger: Any, cap: Any, there: budget.AdmissionState) -> budget.Decision:
        decision = decide(request, ledger, cap, there)
        if isinstance(decision, budget.Admit) and there.alone_in_doubt and not request.held:
            return budget.Wait() if there.others_at_work else budget.Block(budget._price_in_doubt(request))
        return decision

    assert _broken_with(Decimal(credits)) == []
    monkeypatch.setattr(admission, "decide_admission", too_careful)
    assert _broken_with(Decimal(credits)) == [
        f"{name} ends blocked (BUDGET_EXHAUSTED): the credits were there" for name in fit
    ]


def _broken_with(credits: Decimal) -> list[str]:
    """Play the seed with another budget once its faults have ended."""
    with workshop() as (base, images):
        scenario = invent(_ONE_ALONE_IN_DOUBT, images)
        return play_out(replace(scenario, terms=replace(scenario.terms, budget=credits)), base / "run").broken
