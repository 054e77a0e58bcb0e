"""The tests are judged: a mistake of one line, made on purpose, has to be noticed by those of its
own room.
"""

from __future__ import annotations

import pytest

from tests.verification.campaign.planted import caught_by
from tests.verification.campaign.slips import SLIPS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_noticed(slip: str) -> None:
    assert caught_by("slip", slip), f"{SLIPS[slip].noticed_by} passes with {slip}"
