"""``plan --probe`` killed at any effect: the same command ends it, and nothing is bought or uploaded twice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.preloaded import run_module


def played(*options: str) -> Any:
    """Kill the command at places, as ``python -m tests.verification.crash.probed`` does."""
    done = run_module("tests.verification.crash.probed", *options, timeout_s=1800)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("trials", [6, pytest.param(0, marks=pytest.mark.slow)], ids=["some places", "each place"])
def test_a_killed_probe_is_continued_by_the_same_command(trials: int) -> None:
    told = played("--trials", str(trials))
    assert told["findings"] == []
    # How often a job is looked at differs from run to run, so a few of the last looks are never reached.
    assert told["kills"] > 0.9 * told["trials"]


@pytest.mark.parametrize("plant", ["submitted", pytest.param("upload-twice", marks=pytest.mark.slow)])
def test_a_planted_bug_is_found(plant: str) -> None:
    assert played("--plant", plant)["findings"]
