"""Price worlds from seeds, each played with the installed command. PRICING_SEEDS=n plays n of them."""

import os
from pathlib import Path

import pytest

from tests.verification.pricing.scenario import play, play_reference, scenario

pytestmark = pytest.mark.slow

SEEDS = range(1, 1 + int(os.environ.get("PRICING_SEEDS", "4")))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_world_from_a_seed(seed: int, tmp_path: Path) -> None:
    told = scenario(seed)
    played = play(told, tmp_path / "bench")
    assert not played.problems, "\n".join([told.words, played.verdict.figures(), *played.problems, played.story])


@pytest.mark.parametrize("seed", SEEDS)
def test_the_judge_raises_no_false_alarm(seed: int, tmp_path: Path) -> None:
    told = scenario(seed, images=False)
    played = play_reference(told, tmp_path / "bench")
    assert not played.problems, "\n".join([told.words, played.verdict.figures(), *played.problems, played.story])
