"""Killed at any effect, twice, or with its state lost: the same command ends it, and nothing is
bought twice.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.verification.crash.plants import SHOWN_BY

pytestmark = pytest.mark.slow

EFFECTS = {
    "request GET",
    "request POST",
    "request PUT",
    "answer GET",
    "answer POST",
    "answer PUT",
    "commit before",
    "commit after",
    "fsync",
    "link before",
    "link after",
    "replace before",
    "replace after",
}


def test_after_kill_9_at_every_effect_the_same_command_ends_as_if_nothing_had_been(
    campaign: Any,
) -> None:
    told = campaign("--kind", "killed", "--kind", "undisturbed=1")
    assert told["findings"] == []
    assert told["struck"].keys() == EFFECTS
    # How often a job is looked at differs from run to run, so a few of the last looks are never
    # reached.
    assert told["kills"] > 0.9 * told["trials"]["killed"] > 150


def test_a_run_of_fifty_jobs_and_twenty_images_is_no_other(campaign: Any) -> None:
    told = campaign("--scene", "fifty", "--kind", "killed=50")
    assert told["findings"] == []
    assert told["kills"] > 42


def test_a_resume_may_be_killed_too(campaign: Any) -> None:
    told = campaign("--kind", "killed_twice=200")
    assert told["findings"] == []
    assert told["kills"] > 270


def test_a_lost_or_an_older_journal_buys_no_job_twice(campaign: Any) -> None:
    told = campaign("--kind", "state_lost=56")
    assert told["findings"] == []
    assert told["kills"] > 50


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        ("fresh-keys", "double charges"),
        ("lost-intents-forgotten", "uploads"),
        ("nothing-swept", "leftovers"),
        ("no-keys", "conduct"),
        ("key-in-the-log", "canary"),
        ("refusals-ignored", "exit codes"),
    ],
)
def test_a_planted_bug_is_found(campaign: Any, plant: str, kind: str) -> None:
    """The judge is judged: each plant takes one safety away."""
    told = campaign("--plant", plant, *SHOWN_BY[plant])
    assert told["found"][kind] > 0
