"""Whether a run uses what it has set aside, as the account knows it: by a lock that ends with the
process.
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

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


def test_the_last_of_two_processes_deletes_the_file(tmp_path: Path) -> None:
    """Two copies of a directory may begin at the same time; the account refuses one of them."""
    account = tmp_path / "studio.1a2b3c4d.budget.sqlite3"
    with noted_as_active(account, "a"):
        with noted_as_active(account, "a"):
            pass
        assert is_active(account, "a")
    assert not is_active(account, "a")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_deleted_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = tmp_path / "studio.1a2b3c4d.budget.sqlite3"
    real = fcntl.flock
    deleted = list[Path]()

    def late(file: Any, operation: int) -> None:
        if operation == fcntl.LOCK_SH and not deleted:
            deleted.extend(tmp_path.iterdir())
            for path in deleted:
                path.unlink()
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with noted_as_active(account, "a"):
        assert deleted
        assert is_active(account, "a")
