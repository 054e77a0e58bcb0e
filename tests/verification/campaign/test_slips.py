"""The tests are judged: a mistake of one line, made on purpose, has to be noticed by those of its
own room.
"""

from __future__ import annotations

import os

import pytest

from tests.verification.campaign.planted import caught_by
from tests.verification.campaign.slips import SLIPS


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_can_be_made_in_the_code_as_it_is(slip: str) -> None:
    """In a process of its own, which it doesn't outlive."""
    process = os.fork()
    if not process:
        made = 1
        try:
            SLIPS[slip].make()
            made = 0
        finally:
            os._exit(made)
    _, status = os.waitpid(process, 0)
    assert status == 0


@pytest.mark.slow
@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_noticed(slip: str) -> None:
    assert caught_by("slip", slip), f"{SLIPS[slip].noticed_by} passes with {slip}"
