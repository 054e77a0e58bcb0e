"""Nights of three manifests on one account in virtual time, and the judge of them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from tests.verification.nights.bugs import BUGS, planted
from tests.verification.nights.judge import judge
from tests.verification.nights.play import Story, play
from tests.verification.nights.scenario import (
    Mishap,
    Scenario,
    around,
    few_nights,
    turn_of_the_month,
)

CHANGES = [date(2026, 3, 29), date(2026, 10, 25)]
SEEDS = range(4)


def test_four_nights_with_a_dead_host_an_outage_and_the_end_of_the_budget(tmp_path: Path) -> None:
    """The slow tests below play a month, with all mishaps."""
    story = play(few_nights(), tmp_path)
    assert judge(story) == []
    assert _codes(story) == {0, 4, 5, None}


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_month_of_nights_ends_as_documented(change: date, seed: int, tmp_path: Path) -> None:
    scenario = around(change, seed)
    story = play(scenario, tmp_path)
    assert judge(story) == []
    assert {event.mishap for event in scenario.events} == set(Mishap)
    assert {0, 4} <= _codes(story)
    assert any(command.is_skipped for command in story.commands)
    assert len(story.runs) > 100


@pytest.mark.slow
def test_a_night_that_runs_into_the_next_month_is_within_the_budget_of_both(tmp_path: Path) -> None:
    story = play(turn_of_the_month(), tmp_path)
    assert judge(story) == []
    assert 4 in _codes(story)


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS)
def test_the_judge_notices_a_planted_bug(bug: str, tmp_path: Path) -> None:
    found: list[str] = []
    for number, scenario in enumerate((few_nights(), turn_of_the_month())):
        base = tmp_path / str(number)
        base.mkdir()
        found += _judged(scenario, bug, base)
        if found:
            break
    assert found


def _judged(scenario: Scenario, bug: str, base: Path) -> list[str]:
    with planted(bug):
        story = play(scenario, base)
    return judge(story)


def _codes(story: Story) -> set[int | None]:
    return {ran.exit_code for ran in story.runs}
