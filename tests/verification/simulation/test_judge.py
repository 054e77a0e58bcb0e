"""The judge is judged: it must catch each planted bug within a few seeds."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

import pytest

from tests.verification.simulation import judge
from tests.verification.simulation.bugs import RARE, SEEDS_ALLOWED, bugs, first_seed, planted
from tests.verification.simulation.left_jobs import LeftJobs
from tests.verification.simulation.soak import play_all

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("bug", bugs())
def test_a_planted_bug_is_caught(bug: str) -> None:
    first = first_seed(bug)
    with planted(bug):
        total = play_all(range(first, first + SEEDS_ALLOWED))
    # A plant that no longer fits where it is put breaks every run, which shows nothing of the
    # judge.
    assert not any("TypeError" in text or "AttributeError" in text for text in total.broken), (
        total.broken[0]
    )
    assert total.broken != [], (
        f"{SEEDS_ALLOWED} seeds from {first} on didn't show that there is {bug}"
    )


def test_enough_bugs_are_planted_to_tell() -> None:
    assert len(bugs()) >= 29


def test_without_a_planted_bug_the_same_seeds_hold() -> None:
    assert play_all([*range(70), *RARE.values()]).broken == []


@pytest.mark.parametrize(
    ("bound", "went_alone", "is_excused"),
    [
        ("3", True, False),
        ("14.7", True, False),
        ("14.8", True, True),
        (None, True, True),
        (None, False, False),
    ],
)
def test_one_alone_in_doubt_excuses_those_only_whose_bound_does_not_fit(
    bound: str | None, went_alone: bool, is_excused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the rule itself: since runs wait for the end of an outage, no seed is known that ends like
    this.
    """
    doubt = SimpleNamespace(status="unknown", idempotency_key="key", workflow_id="other")
    blocked = SimpleNamespace(
        status="blocked", name="job-2", workflow_id="w", images={}, error=None
    )
    purse = SimpleNamespace(
        stakes=SimpleNamespace(went_alone=lambda key, _uploads: went_alone and key == "key"),
        bound_of=lambda _name, images: None if bound is None else Decimal(bound),
    )
    monkeypatch.setattr(judge, "_left", lambda _last: Decimal("14.7"))
    excused = judge.Judge._may_not_go_alone(
        SimpleNamespace(purse=purse),
        blocked,
        SimpleNamespace(  # type: ignore[arg-type]
            rows=[doubt, blocked], events=[], left=LeftJobs.of([], [])
        ),
    )
    assert excused is is_excused
