"""The demo of a cluster: PostgreSQL's programs, and what the ledger has to show."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.cli.cluster_demo import Proof
from crucible_batch.cli.temporary_postgres import find_programs
from crucible_batch.errors import ClusterSetupError
from tests.case_table import each_case

D = Decimal


def installed(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names or ("initdb", "pg_ctl", "postgres"):
        (folder / name).touch(mode=0o755)
    return folder


def test_the_programs_are_those_of_path_else_of_the_newest_version(tmp_path: Path) -> None:
    ours = installed(tmp_path / "own" / "bin")
    installed(tmp_path / "lib" / "9" / "bin")
    newest = installed(tmp_path / "lib" / "16" / "bin")
    installed(tmp_path / "lib" / "17" / "bin", "pg_ctl")  # the client only
    places = (str(tmp_path / "lib" / "*" / "bin"),)
    assert find_programs(str(ours), places) == ours
    assert find_programs("", places) == newest


def test_without_postgresql_the_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterSetupError, match="needs PostgreSQL") as caught:
        find_programs("", (str(tmp_path / "*" / "bin"),))
    assert "install postgresql" in str(caught.value.hint)


def state(*rows: tuple[str, str, int], keys: tuple[str, ...] = ("k1", "k2")) -> Any:
    """A gateway's state: rows of the ledger, each a type, a job and an amount, and a job for each key."""
    ledger = [{"entry_type": kind, "job_id": job or None, "amount": D(amount)} for kind, job, amount in rows]
    return {"ledger": ledger, "jobs": [{"idempotency_key": key} for key in keys]}


BOTH = (("grant", "", 1000), ("upload", "", 1), ("reserve", "a", 2), ("reserve", "b", 2), ("consume", "a", 2))


@each_case(
    "found, spent, budget, holds",
    [
        (state(*BOTH), 5, 5, True),
        (state(*BOTH), 5, 4, False),  # above the budget
        (state(*BOTH), 4, 5, False),  # not what was reported
        (state(*BOTH, ("refund", "b", 2)), 3, 4, False),  # above the budget for some time
        (state(*BOTH, keys=("k1", "k1")), 5, 9, False),
        (state(*BOTH, ("reserve", "b", 2)), 7, 9, False),  # charged twice
        (state(*BOTH, keys=("k1", "k2", "k3")), 5, 9, False),  # one more than the report has
    ],
)
def test_the_ledger_proves_that_each_job_was_charged_once_within_the_budget(
    found: Any, spent: int, budget: int, holds: bool
) -> None:
    assert Proof.of(found).holds_for(2, D(spent), D(budget)) is holds
