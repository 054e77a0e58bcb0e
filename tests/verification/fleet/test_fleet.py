"""Clusters of up to a hundred workers in virtual time: the invariants of one machine hold; planted bugs are found."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.verification.fleet.bugs import BUGS, planted
from tests.verification.fleet.judge import judge
from tests.verification.fleet.play import Story, play
from tests.verification.fleet.scenario import Mishap, invent

FEW_SEEDS = (7, 20, 23)
SEEDS = [range(part * 50, (part + 1) * 50) for part in range(4)]
LARGE_SEEDS = range(2)
WITH_TAKEOVERS = (23, 7, 20, 3, 29, 36, 21, 14, 27, 34, 37, 10, 25, 6)
"""In most of these a shard has several owners."""


def stories(seeds: Iterable[int], base: Path, workers: int | None = None) -> Iterable[Story]:
    for seed in seeds:
        folder = base / str(seed)
        folder.mkdir()
        yield play(invent(seed, workers), folder)


@pytest.mark.parametrize("seed", FEW_SEEDS)
def test_whatever_happens_to_a_few_workers_the_invariants_hold(seed: int, tmp_path: Path) -> None:
    """The slow tests below play more of them, and a hundred workers."""
    (story,) = stories([seed], tmp_path)
    assert judge(story) == []
    assert story.accounts.takeovers > 0


@pytest.mark.slow
@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_the_invariants_of_one_machine_hold_for_all_seeds(seeds: range, tmp_path: Path) -> None:
    mishaps: Counter[Mishap] = Counter()
    takeovers = refused = zombies = 0
    for story in stories(seeds, tmp_path):
        assert judge(story) == [], story.scenario.seed
        mishaps += story.mishaps
        takeovers += story.accounts.takeovers
        refused += story.accounts.refused
        zombies += story.zombies
    assert set(mishaps) == set(Mishap)
    assert min(takeovers, refused, zombies) > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", LARGE_SEEDS)
def test_a_hundred_workers_hold_the_invariants_of_one_machine(seed: int, tmp_path: Path) -> None:
    (story,) = stories([seed], tmp_path, workers=100)
    assert judge(story) == []
    assert story.accounts.takeovers > 0


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found_within_a_few_seeds(bug: str, tmp_path: Path) -> None:
    with planted(bug):
        assert any(judge(story) for story in stories(WITH_TAKEOVERS, tmp_path))


@pytest.mark.slow
def test_the_same_seed_is_the_same_story_in_every_process(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.verification.fleet.__main__ import told\n"
        "print(told(19, None, Path(sys.argv[1])))"
    )
    told = set()
    for number, hash_seed in enumerate(("1", "2")):
        base = tmp_path / str(number)
        base.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", program, str(base)],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[3],
            env={"PYTHONHASHSEED": hash_seed},
        )
        told.add(done.stdout)
    assert len(told) == 1
