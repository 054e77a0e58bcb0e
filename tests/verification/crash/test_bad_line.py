"""One exchange goes wrong, in any way in which a line can: nothing is bought twice, lost, or told
to a stranger.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.verification.crash.wire_faults import FAULTS

pytestmark = pytest.mark.slow


def test_whatever_goes_wrong_with_an_exchange_the_same_command_ends_as_if_nothing_had_been(
    campaign: Any,
) -> None:
    told = campaign("--scene", "six", "--kind", "proxied=320")
    assert told["findings"] == []
    assert {place.partition(" @ ")[0] for place in told["struck"]} == {
        fault.name for fault in FAULTS
    }
    assert sum(told["struck"].values()) > 300


@pytest.mark.parametrize(
    ("only", "once"),
    [
        (
            "cut-and-sized @ GET storage",
            "a picture without its end was saved, as its length was counted after the cut",
        ),
        (
            "answered-twice @ GET storage",
            "an answer too many was saved as the next download on its connection",
        ),
        (
            "404-page-before @ GET /api/v1/workflows",
            "an edge's page was taken for 'no such workflow'",
        ),
    ],
)
def test_what_a_bad_line_once_showed_holds(campaign: Any, only: str, once: str) -> None:
    told = campaign("--scene", "six", "--kind", "proxied=3", "--only", only)
    assert told["findings"] == [], once
    assert sum(told["struck"].values()) > 0
