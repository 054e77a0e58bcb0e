"""With room to spare in the budget and a price that stands still, the same jobs are bought; how fast is a figure."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verification.pricing.pace import submits

pytestmark = pytest.mark.slow


def test_room_to_spare_buys_the_same_and_says_how_fast(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    free, capped = submits(tmp_path / "free", 80, None), submits(tmp_path / "capped", 80, "10000")
    record_property("pace", f"{capped.submitted / free.submitted:.2f}")
    print(f"80 submits: {free.submitted:.2f} s without a budget, {capped.submitted:.2f} s with room to spare")
    assert (free.submits, free.code) == (80, 0)
    assert (capped.submits, capped.code) == (80, 0)
