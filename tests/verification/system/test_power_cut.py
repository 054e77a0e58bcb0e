"""The power fails: what was synced is there, the rest is gone, and the same command goes on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.verification.crash.plants import SHOWN_BY


def test_after_a_power_cut_the_same_command_ends_as_if_nothing_had_been(campaign: Any) -> None:
    told = campaign("--scene", "twenty", "--kind", "unplugged=40")
    assert told["findings"] == []
    assert told["kills"] > 36


@pytest.mark.parametrize("plant", ["outputs-unsynced", "journal-unsynced"])
def test_a_planted_bug_is_found(campaign: Any, plant: str) -> None:
    """A kill would show neither: what was written outlives the process, and not the power."""
    told = campaign("--plant", plant, *SHOWN_BY[plant])
    assert told["findings"] != []
