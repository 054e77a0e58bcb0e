"""A few trials of each kind: what `make verify` does at every place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness.slow_cases import quick_every

ONE_OF_EACH = {
    "undisturbed": 1,
    "killed": 1,
    "killed_twice": 1,
    "state_lost": 1,
    "signalled": 1,
    "together": 1,
    "part_failed": 1,
}
KILLS = {
    "undisturbed": 1,
    "killed": 4,
    "killed_twice": 2,
    "state_lost": 3,
    "signalled": 2,
    "together": 1,
}


@pytest.mark.parametrize(
    ("scene", "trials"),
    quick_every(
        2, [("any", ONE_OF_EACH), ("any", KILLS), ("six", {"proxied": 2}), ("six", {"proxied": 6})]
    ),
    ids=["kills and signals", "more kills and signals", "a bad line", "more of a bad line"],
)
def test_the_same_command_ends_it_and_nothing_is_bought_twice(
    campaign: Any,
    scene: str,
    trials: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """No trial reads or writes the state directory of the user who starts it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    told = campaign(
        "--scene",
        scene,
        *(word for kind, n in trials.items() for word in ("--kind", f"{kind}={n}")),
    )
    assert told["findings"] == []
    assert told["trials"] == trials
    assert list(tmp_path.iterdir()) == []
