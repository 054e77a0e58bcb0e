"""A part of the run raises an error at any of its moments: money, lock and report are as promised,
and the same command ends the run as if nothing had been.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.failing_part import MOMENTS
from tests.verification.crash.failed_parts import ERRORS, PLACES

pytestmark = pytest.mark.slow

AT_ALL_MOMENTS = len(ERRORS) * len(PLACES) * len(MOMENTS)


@pytest.mark.parametrize(
    ("scene", "rounds"),
    [("steady", 1), ("six", 1), ("twenty", 1), ("any", 2)],
    ids=["failures and refunds", "no failures", "twenty jobs", "other scenes"],
)
def test_a_part_may_fail_at_each_of_its_moments(campaign: Any, scene: str, rounds: int) -> None:
    told = campaign(
        "--scene", scene, "--first", "1", "--rounds", str(rounds), "--kind", "part_failed"
    )
    assert told["findings"] == []
    assert len(told["struck"]) == AT_ALL_MOMENTS
    assert told["trials"] == {"part_failed": rounds * AT_ALL_MOMENTS}
