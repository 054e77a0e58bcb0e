"""While a transaction changes an account's file, no reader in the same process ends its lock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crucible_batch.features.periods.account import BudgetAccount, account_file, account_files
from crucible_batch.features.periods.database import transaction
from crucible_batch.features.periods.records import AccountTerms

TERMS = AccountTerms("studio", "http://gateway", "day", "UTC")
OTHER_PROCESS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    connection.execute("BEGIN IMMEDIATE")
    print("taken")
except sqlite3.OperationalError as error:
    print(error)
"""


def tried_by_another_process(path: Path) -> str:
    words = [sys.executable, "-IS", "-c", OTHER_PROCESS, str(path)]
    return subprocess.run(
        words, check=True, capture_output=True, text=True, timeout=240
    ).stdout.strip()


READERS: dict[str, Callable[[Path], object]] = {
    "terms": lambda directory: BudgetAccount.existing(directory, TERMS),
    "limit": lambda directory: BudgetAccount(
        account_file(directory, "studio", "http://gateway")
    ).limit(),
    "account_files": account_files,
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_reader_in_the_same_process_leaves_the_lock_of_a_transaction(
    tmp_path: Path, reader: Any
) -> None:
    path = BudgetAccount.create(tmp_path, TERMS).path
    with transaction(path, write=True):
        assert tried_by_another_process(path) == "database is locked"
        reader(tmp_path)
        assert tried_by_another_process(path) == "database is locked"
    assert tried_by_another_process(path) == "taken"
