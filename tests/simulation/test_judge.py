"""The judge is judged: it must catch each planted bug within a few seeds."""

from __future__ import annotations

import pytest

from tests.simulation.bugs import bugs, planted
from tests.simulation.soak import play_all

_SEEDS_ALLOWED = 70
# Rare weather: these are looked for from a seed on that has it, so that the suite needn't play hundreds for each.
_FROM = {
    "a hopeless failure tried again": 150,
    "a price that rose not taken in": 201,
    "an empty list of outputs taken for the whole": 437,
    "a temporary file left behind": 1300,
}


@pytest.mark.parametrize("bug", bugs())
def test_a_planted_bug_is_caught(bug: str) -> None:
    first = _FROM.get(bug, 0)
    with planted(bug):
        total = play_all(range(first, first + _SEEDS_ALLOWED))
    assert total.broken != [], f"{_SEEDS_ALLOWED} seeds from {first} on didn't show that there is {bug}"


def test_enough_bugs_are_planted_to_tell() -> None:
    assert len(bugs()) >= 24


def test_without_a_planted_bug_the_same_seeds_hold() -> None:
    assert play_all([*range(70), *_FROM.values()]).broken == []
