"""Shards on up to a hundred workers in virtual time: the invariants of one machine hold; planted
bugs are found.

Each play is judged twice: by ``judge.py``, which knows the simulation, and by
``contract_judge.py``, which does not.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.verification.fleet import contract_judge, evidence
from tests.verification.fleet.bugs import BUGS, planted
from tests.verification.fleet.contract_judge import contract_broken
from tests.verification.fleet.judge import judge
from tests.verification.fleet.play import Story, play
from tests.verification.fleet.scenario import Mishap, invent

JUDGED_SEED = 7
FEW_SEEDS = (20, 23)
SEEDS = [range(part * 50, (part + 1) * 50) for part in range(4)]
LARGE_SEEDS = range(2)
BUG_SEEDS = range(10)


def broken(story: Story) -> list[str]:
    """Return what does not hold by the first judge, or else by the second."""
    return judge(story) or contract_broken(story.evidence)


def stories(seeds: Iterable[int], base: Path, workers: int | None = None) -> Iterable[Story]:
    for seed in seeds:
        folder = base / str(seed)
        folder.mkdir()
        yield play(invent(seed, workers), folder)


@pytest.mark.parametrize("seed", FEW_SEEDS)
def test_whatever_happens_to_a_few_workers_the_invariants_hold(seed: int, tmp_path: Path) -> None:
    """The slow tests below play more of them, and a hundred workers."""
    (story,) = stories([seed], tmp_path)
    assert broken(story) == []
    assert story.deaths + story.zombies > 0


@pytest.mark.slow
@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_the_invariants_of_one_machine_hold_for_all_seeds(seeds: range, tmp_path: Path) -> None:
    mishaps: Counter[Mishap] = Counter()
    deaths = zombies = 0
    for story in stories(seeds, tmp_path):
        assert broken(story) == [], story.scenario.seed
        mishaps += story.mishaps
        deaths += story.deaths
        zombies += story.zombies
    assert set(mishaps) == set(Mishap)
    assert min(deaths, zombies) > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", LARGE_SEEDS)
def test_a_hundred_workers_hold_the_invariants_of_one_machine(seed: int, tmp_path: Path) -> None:
    (story,) = stories([seed], tmp_path, workers=100)
    assert broken(story) == []
    assert story.deaths + story.zombies > 0


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found_within_a_few_seeds(bug: str, tmp_path: Path) -> None:
    with planted(bug):
        assert any(broken(story) for story in stories(BUG_SEEDS, tmp_path))


def test_the_second_judge_uses_no_code_of_the_product() -> None:
    for module in (contract_judge, evidence):
        imported = [
            node
            for node in ast.walk(ast.parse(inspect.getsource(module)))
            if isinstance(node, ast.ImportFrom)
        ]
        assert not [
            node.module
            for node in imported
            if node.module and node.module.startswith("crucible_batch")
        ]


def test_the_invariants_hold_and_the_second_judge_objects_to_each_change(tmp_path: Path) -> None:
    """One more of the few seeds above; what is left of it is changed in each way."""
    (story,) = stories([JUDGED_SEED], tmp_path)
    assert broken(story) == []
    assert story.deaths + story.zombies > 0
    _changes_of_the_evidence_are_found(story)
    _changes_of_the_run_directory_are_found(story)


def _changes_of_the_evidence_are_found(story: Story) -> None:
    seen = story.evidence
    reserve = next(row for row in seen.ledger if row.entry_type == "reserve")
    double = replace(seen.generations[0], job_id="another")
    changed = {
        "a row is missing": replace(
            seen, ledger=[row for row in seen.ledger if row is not reserve]
        ),
        "a row is double": replace(seen, ledger=[*seen.ledger, reserve]),
        "a key is accepted twice": replace(seen, generations=[*seen.generations, double]),
        "a job is dearer": replace(
            seen, ledger=[replace(row, amount=row.amount + 1) for row in seen.ledger]
        ),
        "the budget is lower": replace(seen, budget=seen.budget / 100),
        "fewer attempts are allowed": replace(seen, attempts=0),
        "no key was sent": replace(seen, submits=[]),
        "the exit code is another": replace(seen, endings=[130]),
        "a shard bought a job of another": replace(seen, shards=_exchanged(seen.shards)),
    }
    assert [name for name, evidence in changed.items() if not contract_broken(evidence)] == []


def _exchanged(shards: Mapping[str, tuple[str, int]]) -> dict[str, tuple[str, int]]:
    return {process: (digest, number % 2 + 1) for process, (digest, number) in shards.items()}


def _changes_of_the_run_directory_are_found(story: Story) -> None:
    file = story.run_dir / "report.json"
    text = file.read_text(encoding="utf-8")
    report = json.loads(text)
    done = [row for row in report["jobs"] if row["status"] == "succeeded"]
    one, other = (story.run_dir / row["outputs"][0]["path"] for row in done[:2])
    missing = {**report, "jobs": [row for row in report["jobs"] if row is not done[0]]}
    double = {**report, "jobs": [*report["jobs"], done[0]]}
    dearer = {**report, "credits": {**report["credits"], "spent": "1"}}
    for changed in (missing, double, dearer):
        file.write_text(json.dumps(changed), encoding="utf-8")
        assert contract_broken(story.evidence)
    file.write_text(text, encoding="utf-8")
    assert contract_broken(story.evidence) == []
    (story.run_dir / "left").touch()
    assert contract_broken(story.evidence) == ["left is left in the run directory"]
    (story.run_dir / "left").unlink()
    one.write_bytes(other.read_bytes())
    assert contract_broken(story.evidence)
