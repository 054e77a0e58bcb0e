"""A trial of the directory of accounts, before a run needs it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from crucible_batch.budget_accounts.account import BudgetAccount, account_files
from crucible_batch.budget_accounts.database import reported
from crucible_batch.budget_accounts.records import AccountTerms
from crucible_batch.errors import BudgetAccountError


def try_accounts(directory: Path) -> list[str]:
    """Create an account beside those in a directory, remove it again, and read the others; return their names.

    A directory that does not exist is not created: then its nearest parent has to be writable. Raises
    ``BudgetAccountError`` if an account can't be created, or if one of them can't be read.
    """
    if not directory.is_dir():
        _check_parent(directory)
        return []
    with reported(directory), tempfile.TemporaryDirectory(prefix=".trial-", dir=directory) as place:
        terms = AccountTerms("trial", "http://localhost", "day", "UTC")
        try:
            BudgetAccount.create(Path(place), terms)
        except BudgetAccountError as error:
            raise BudgetAccountError(error.message.replace(place, str(directory)), hint=error.hint) from None
    return sorted({BudgetAccount(file).terms().account for file in account_files(directory)})


def _check_parent(directory: Path) -> None:
    try:
        parent = next(each for each in (directory, *directory.parents) if os.path.lexists(each))
        tempfile.TemporaryDirectory(prefix=".trial-", dir=parent).cleanup()
    except OSError as error:
        raise BudgetAccountError(
            f"the directory of budget accounts {directory} can't be created: {error.strerror}",
            hint="set CRUCIBLE_BATCH_ACCOUNTS to a directory that all runs of the account can write",
        ) from None
