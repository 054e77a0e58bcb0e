"""Whether a run uses what it has set aside, as the account knows it: by a lock that ends with the
process.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible_batch.features.periods.active_runs import is_active, noted_as_active


def test_a_run_is_active_as_long_as_its_process_holds_the_lock(tmp_path: Path) -> None:
    account = tmp_path / "studio.1a2b3c4d.budget.sqlite3"
    assert not is_active(account, "a")
    with noted_as_active(account, "a"):
        assert is_active(account, "a")
        assert not is_active(account, "b")
    assert not is_active(account, "a")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_is_not_active(tmp_path: Path) -> None:
    """The kernel drops its lock, and its file stays."""
    account = tmp_path / "studio.1a2b3c4d.budget.sqlite3"
    (tmp_path / f"{account.name}.a.active").touch()
    assert not is_active(account, "a")


def test_a_run_that_fails_is_not_active_any_more(tmp_path: Path) -> None:
    account = tmp_path / "studio.1a2b3c4d.budget.sqlite3"
    with pytest.raises(ValueError, match="x"), noted_as_active(account, "a"):
        raise ValueError("x")
    assert not is_active(account, "a")
