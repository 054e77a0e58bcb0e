"""The judge is judged: it must catch each planted bug within a few seeds."""

from __future__ import annotations

import pytest

from tests.simulation.bugs import RARE, SEEDS_ALLOWED, bugs, first_seed, planted
from tests.simulation.soak import play_all


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
