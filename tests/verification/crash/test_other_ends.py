"""Asked to stop at any effect, started several times at once, killed at any time: one run, one
purchase, true codes.
"""

from __future__ import annotations

import subprocess
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from tests.verification.crash.judge import Past, ask, judge
from tests.verification.crash.scenes import Scene, Want

pytestmark = pytest.mark.slow

LONG = Scene(
    wants=(
        Want("one sheet", "zimage-sheet", count=3),
        Want("first edit", "qwen-edit", image="a.png"),
        Want("many texts", count=12),
        Want("second edit", "qwen-edit", count=3, image="b.png"),
        Want("never nsfw", hopeless=True),
        Want("third edit", "qwen-edit", count=2, image="a.png"),
    ),
    concurrency=6,
    faults="generate.fail=2",
    spare=Decimal(25),
)


@pytest.mark.parametrize("only", ["", "replace", "request GET /api/v1/workflows"])
def test_a_signal_at_any_effect_ends_with_its_code_and_the_same_command_continues(
    campaign: Any, only: str
) -> None:
    told = campaign("--kind", "signalled=100" if not only else "signalled", "--only", only)
    assert told["findings"] == [], told["findings"]
    assert sum(told["struck"].values()) > (90 if not only else 1)


def test_of_several_started_together_one_runs(campaign: Any) -> None:
    told = campaign("--kind", "together=50")
    assert told["findings"] == []
    assert told["resumes"] >= 50 * 3


@pytest.mark.parametrize("seed", [0, 1])
def test_the_installed_command_may_be_killed_at_any_time(user: Any, seed: int) -> None:
    chance = Random(seed)
    kills = 0
    with user(LONG, "--runners", "2", "--seed", str(seed)) as at:
        for _ in range(10):
            with at.start(LONG) as process:
                try:
                    process.communicate(timeout=chance.uniform(0.3, 1.6))
                except subprocess.TimeoutExpired:
                    process.kill()
                    kills += 1
        with at.start(LONG) as process:
            _, err = process.communicate(timeout=240)
        assert process.returncode == 1, err
        assert list(judge(LONG, Past(kills), at.run_dir, 1, ask(at.url))) == []
        assert list(at.temporary.iterdir()) == []
    assert kills >= 5
